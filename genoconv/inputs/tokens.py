"""From sequences to token ids as HyenaDNA numbers them, right-padded to batches."""

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

VOCABULARY = MappingProxyType(
    {
        "[CLS]": 0,
        "[SEP]": 1,
        "[BOS]": 2,
        "[MASK]": 3,
        "[PAD]": 4,
        "[RESERVED]": 5,
        "[UNK]": 6,
        "A": 7,
        "C": 8,
        "G": 9,
        "T": 10,
        "N": 11,
    }
)
PAD = VOCABULARY["[PAD]"]
UNKNOWN = VOCABULARY["[UNK]"]
_PAD_BYTE = bytes([PAD])

_TABLE = bytes(VOCABULARY.get(chr(_byte), UNKNOWN) for _byte in range(256))


def encode(sequence: bytes) -> npt.NDArray[np.uint8]:
    """Turn a normalised sequence into token ids, one a base; no special tokens are added.

    Args:
        sequence: A, C, G, T, N in upper case. Anything else becomes [UNK], as in the reference tokenizer.

    Returns:
        Token ids, (L,) uint8.
    """
    return np.frombuffer(bytearray(sequence).translate(_TABLE), dtype=np.uint8)


def reverse_complement(tokens: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The other strand of rows of tokens, (..., L); everything but A C G T stays itself."""
    first, last = VOCABULARY["A"], VOCABULARY["T"]
    flipped = tokens[..., ::-1]
    return np.where((flipped >= first) & (flipped <= last), first + last - flipped, flipped).astype(np.uint8)


def pad_batch(rows: Sequence[npt.NDArray[np.uint8]]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Stack token ids of different lengths; the model is causal, so pads on the right change no base.

    Args:
        rows: B arrays of token ids, each (L_b,).

    Returns:
        Token ids (B, max L_b) uint8, filled with PAD on the right; and the lengths (B,) int64.
    """
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    longest = int(lengths.max(initial=0))
    padded = b"".join(row.tobytes().ljust(longest, _PAD_BYTE) for row in rows)
    return np.frombuffer(bytearray(padded), dtype=np.uint8).reshape(len(rows), longest), lengths
