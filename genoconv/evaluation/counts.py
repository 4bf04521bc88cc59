"""Sequences -> what simple counting sees of them: words of k bases, and the bases around a place."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genoconv.inputs.tokens import VOCABULARY, encode, reverse_complement

Matrix = NDArray[np.float32]
_A, _T = VOCABULARY["A"], VOCABULARY["T"]


def kmer_shares(sequences: Sequence[bytes], k: int, *, both_strands: bool = False) -> Matrix:
    """Square roots of the shares of all 4^k words, which suit a linear model better than the shares themselves.

    Args:
        sequences: n sequences; words with an N are not counted.
        k: Bases of a word.
        both_strands: Count the reverse complement too.

    Returns:
        (n, 4^k) float32, words in the order A C G T, first base most significant.
    """
    result = np.zeros((len(sequences), 4**k), dtype=np.float32)
    for row, sequence in enumerate(sequences):
        tokens = encode(sequence)
        counts = _counts(tokens, k)
        counts += _counts(reverse_complement(tokens), k) if both_strands else 0
        result[row] = np.sqrt(counts / max(counts.sum(), 1))
    return result


def _counts(tokens: NDArray[np.uint8], k: int) -> NDArray[np.int64]:
    if len(tokens) < k:
        return np.zeros(4**k, dtype=np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(tokens, k)
    known = windows[((windows >= _A) & (windows <= _T)).all(axis=1)].astype(np.int64) - _A
    return np.bincount(known @ (4 ** np.arange(k - 1, -1, -1)), minlength=4**k)


def one_hot(sequences: Sequence[bytes], width: int, site: int | None = None) -> Matrix:
    """The bases around a site as indicators.

    Args:
        sequences: n sequences.
        width: Bases, half of them before the site.
        site: Counted from 1; None: the middle of each sequence.

    Returns:
        (n, 4 x width) float32; zeros for N and beyond an end.
    """
    result = np.zeros((len(sequences), width, 4), dtype=np.float32)
    for row, sequence in enumerate(sequences):
        tokens = encode(sequence)
        first = (len(tokens) // 2 if site is None else site - 1) - width // 2
        for place in range(max(0, -first), min(width, len(tokens) - first)):
            base = int(tokens[first + place])
            if _A <= base <= _T:
                result[row, place, base - _A] = 1
    return result.reshape(len(sequences), -1)
