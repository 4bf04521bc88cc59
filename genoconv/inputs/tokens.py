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

_TABLE = bytes(VOCABULARY.get(chr(_byte), UNKNOWN) for _byte in range(256))
_TABLE_WITH_PAD = bytes([PAD]) + _TABLE[1:]
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


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


def encode_batch(sequences: Sequence[bytes], *, turn: bool = False) -> npt.NDArray[np.uint8]:
    """Stack normalised sequences of different lengths; the model is causal, so pads on the right change no base.

    All are translated in one go: of many short ones that takes a tenth of the time of one by one.

    Args:
        sequences: B sequences as `encode` takes them, without zero bytes.
        turn: Give their reverse complements.

    Returns:
        Token ids (B, longest), filled with PAD on the right.
    """
    if turn:
        sequences = [sequence.translate(_COMPLEMENT)[::-1] for sequence in sequences]
    longest = max(map(len, sequences), default=0)
    padded = b"".join([sequence.ljust(longest, b"\0") for sequence in sequences])
    ids = bytearray(padded).translate(_TABLE_WITH_PAD)
    return np.frombuffer(ids, dtype=np.uint8).reshape(len(sequences), longest)
