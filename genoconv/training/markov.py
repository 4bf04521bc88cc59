"""From packed tokens to the perplexity of order-k Markov models with back-off: what counting alone can reach."""

import math
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from genoconv.inputs.tokens import reverse_complement
from genoconv.training.corpus import FIRST_BASE, is_base

STRENGTHS = (0.5, 2.0, 8.0, 32.0, 128.0, 512.0)
"""Weights of the lower order, in counts, that are tried for each order."""

_CHUNK = 1 << 22


class MarkovModel:
    """Counts of every word of order + 1 bases; the probability of a base backs off order by order.

        p_k(base | k before) = (count(k before, base) + s_k p_(k-1)(base | k-1 before)) / (count(k before) + s_k)

    p_(-1) is 1/4. Counts of shorter words are sums over the longer ones. Words never span a record's end or an N.
    """

    def __init__(self, counts: NDArray[np.int64], order: int) -> None:
        """Wrap counts of words, (4 ** (order + 1),), first base most significant."""
        self.order = order
        self._counts = [counts]
        for _ in range(order):
            self._counts.insert(0, self._counts[0].reshape(4, -1).sum(axis=0))

    @classmethod
    def fit(cls, tokens: NDArray[np.uint8], order: int, *, both_strands: bool = False) -> Self:
        """Count words.

        Args:
            tokens: Packed tokens, (T,).
            order: Bases of context, 0 to 12 (order 12 takes 1 GB).
            both_strands: Count the reverse complement too.
        """
        counts = np.zeros(4 ** (order + 1), dtype=np.int64)
        for codes in _codes(tokens, order, chunk=max(_CHUNK, len(counts) // 2)):
            words = _words(codes, order + 1)
            counts += np.bincount(words[words >= 0], minlength=len(counts))
            if both_strands:
                words = _words(_codes_of(reverse_complement(codes + np.uint8(FIRST_BASE))), order + 1)
                counts += np.bincount(words[words >= 0], minlength=len(counts))
        return cls(counts, order)

    def perplexities(self, tokens: NDArray[np.uint8], *, strengths: Sequence[float] = STRENGTHS) -> list[float]:
        """Perplexities on other tokens, of the orders 0 to `order`.

        Each order's weight of the lower order is the best of `strengths` for these very tokens, which favours this
        model over one that has to choose ahead. A base with fewer than k bases before it is judged by the highest
        order it has.

        Args:
            tokens: Packed tokens, (T,), with at least one real base.
            strengths: Weights to try.
        """
        results: list[float] = []
        lower: NDArray[np.float64] | float = 0.25
        real = is_base(tokens)
        for order, counts in enumerate(self._counts):
            trials = [self._backed_off(counts, order, tokens, lower, strength) for strength in strengths]
            entropies = [float(-np.log(trial[real]).mean()) for trial in trials]
            best = int(np.argmin(entropies))
            lower = trials[best]
            results.append(math.exp(entropies[best]))
        return results

    def _backed_off(
        self,
        counts: NDArray[np.int64],
        order: int,
        tokens: NDArray[np.uint8],
        lower: NDArray[np.float64] | float,
        strength: float,
    ) -> NDArray[np.float64]:
        """Probability of each token given the `order` ones before it, (T,); 1 where the token is no base."""
        totals = counts.reshape(-1, 4).sum(axis=1)
        result = np.array(np.broadcast_to(lower, len(tokens)))
        place = order
        for codes in _codes(tokens, order):
            words = _words(codes, order + 1)
            known = np.flatnonzero(words >= 0)
            word = words[known]
            result[place + known] = (counts[word] + strength * result[place + known]) / (totals[word >> 2] + strength)
            place += len(words)
        return result


def _codes(tokens: NDArray[np.uint8], order: int, *, chunk: int = _CHUNK) -> Iterator[NDArray[np.uint8]]:
    """Codes 0 to 3 (others: above 3) in chunks that overlap by `order`, so that no word is lost or doubled."""
    for start in range(0, len(tokens) - order, chunk):
        yield _codes_of(tokens[start : start + chunk + order])


def _codes_of(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Token ids as codes: A C G T are 0 to 3, everything else is above (uint8 wraps below A)."""
    return np.asarray(tokens) - np.uint8(FIRST_BASE)


def _words(codes: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    """The word of `size` codes that begins at each place, first most significant; -1 where one of them is no base."""
    count = len(codes) - size + 1
    words = np.zeros(count, dtype=np.int64)
    for place in range(size):
        words = (words << 2) | (codes[place : place + count] & 3)
    unclear = np.concatenate(([0], np.cumsum(codes > 3, dtype=np.int64)))
    words[unclear[size:] != unclear[:-size]] = -1
    return words
