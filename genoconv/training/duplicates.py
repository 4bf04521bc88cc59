"""From sequences to the stretches of them that were seen before: sampled 24-letter words, either strand."""

import numpy as np
from numpy.typing import NDArray

WORD = 24
"""Letters in a word: long enough that two unrelated genomes of 10^8 bases share almost none by chance."""

SAMPLED = 32
"""One word in so many is kept, chosen by its hash, so that the same word is kept wherever it occurs."""

STRETCH = 4096
"""Bases that are judged together."""

_CHUNK = 1 << 22
_CODES = np.full(256, 4, dtype=np.uint8)
_CODES[np.frombuffer(b"ACGT", dtype=np.uint8)] = range(4)


def sampled_words(sequence: bytes) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The sampled words of a sequence of A C G T N, strand-neutral.

    Returns:
        Start positions (0-based, ascending) and hashes of the words without N that are in the sample.
    """
    letters = np.frombuffer(sequence, dtype=np.uint8)
    positions, hashes = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for start in range(0, max(len(letters) - WORD + 1, 0), _CHUNK):
        codes = _CODES[letters[start : start + _CHUNK + WORD - 1]]
        words = _hash(codes)
        unclear = np.concatenate(([0], np.cumsum(codes == 4, dtype=np.int64)))
        kept = (words % np.uint64(SAMPLED) == 0) & (unclear[WORD:] == unclear[:-WORD])
        positions.append(np.flatnonzero(kept) + start)
        hashes.append(words[kept])
    return np.concatenate(positions), np.concatenate(hashes)


def _hash(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hashes of every word of 24 codes: the smaller of the word and its reverse complement, mixed."""
    forward = (codes & 3).astype(np.uint64)
    backward = np.uint64(3) - forward
    by_size = {1: (forward, backward)}
    for size in (1, 2, 4, 8):
        by_size[2 * size] = _join(by_size[size], size, by_size[size], size)
    ahead, behind = _join(by_size[16], 16, by_size[8], 8)
    word = np.minimum(ahead, behind)
    mixed = word * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray(mixed ^ (mixed >> np.uint64(29)), dtype=np.uint64)


def _join(
    left: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    left_size: int,
    right: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    right_size: int,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Words of left_size letters and the words of right_size letters behind them, made one (both strands)."""
    count = len(right[0]) - left_size
    ahead = (left[0][:count] << np.uint64(2 * right_size)) | right[0][left_size:]
    behind = (right[1][left_size:] << np.uint64(2 * left_size)) | left[1][:count]
    return ahead, behind


class SeenSequence:
    """Remembers sequences; tells which stretches of another one they hold already."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._hashes = np.empty(0, np.uint64)

    def add(self, sequence: bytes) -> None:
        """Remember a sequence."""
        # np.unique and np.isin took minutes here: their hash tables (numpy 2.3) collide on multiples of 32.
        self._hashes = np.sort(np.concatenate((self._hashes, sampled_words(sequence)[1])))

    def mask(self, sequence: bytes, *, share: float = 0.5) -> tuple[bytes, int]:
        """Replace what was seen before by N.

        Args:
            sequence: A C G T N.
            share: A stretch is replaced when at least this share of its sampled words was seen.

        Returns:
            The sequence with repeated stretches of 4,096 bases as N, and the number of bases replaced (N not counted).
        """
        positions, hashes = sampled_words(sequence)
        if not len(hashes) or not len(self._hashes):
            return sequence, 0
        place = np.searchsorted(self._hashes, hashes)
        known = self._hashes[np.minimum(place, len(self._hashes) - 1)] == hashes
        stretch = positions // STRETCH
        count = -(-len(sequence) // STRETCH)
        words = np.bincount(stretch, minlength=count)
        repeated = np.bincount(stretch, weights=known, minlength=count)
        letters = np.frombuffer(sequence, dtype=np.uint8).copy()
        replaced = 0
        for index in np.flatnonzero((repeated >= share * words) & (words > 0)):
            part = letters[index * STRETCH : (index + 1) * STRETCH]
            replaced += int((part != ord("N")).sum())
            part[:] = ord("N")
        return letters.tobytes(), replaced
