"""Texts as HDF5 holds them, UTF-8, so that a copy of many needs no decoding in between."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

STEP = 4096
"""Texts whose bytes are put together at once."""


class Texts(Sequence[str]):
    """Texts that are kept as UTF-8, decoded one by one when looked at.

    Args:
        encoded: The bytes of each, (n,) object.

    Attributes:
        encoded: As given.
    """

    __slots__ = ("encoded",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, encoded: npt.NDArray[Any]) -> None:
        self.encoded = encoded

    @classmethod
    def joined(cls, several: Iterable["Texts"]) -> "Texts":
        """The texts of all, one after the other."""
        return cls(np.concatenate([texts.encoded for texts in several]))

    @classmethod
    def hexadecimal(cls, values: npt.NDArray[np.uint8]) -> "Texts":
        """The hex digits of bytes (n, k)."""
        digits, width = values.tobytes().hex().encode(), 2 * values.shape[1]
        places = range(0, len(digits), width)
        return cls(np.fromiter((digits[start : start + width] for start in places), object, len(places)))

    def take(self, rows: npt.NDArray[np.int64]) -> "Texts":
        """The texts at some places."""
        return Texts(self.encoded[rows])

    def sha256(self) -> str:
        """The checksum of the texts, as `texts_sha256` defines it."""
        return texts_sha256(self.encoded)

    def __len__(self) -> int:
        return len(self.encoded)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> "Texts": ...

    def __getitem__(self, place: int | slice) -> "str | Texts":
        if isinstance(place, slice):
            return Texts(self.encoded[place])
        text: bytes = self.encoded[place]
        return text.decode()

    def __iter__(self) -> Iterator[str]:
        for text in self.encoded:
            yield text.decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Texts) and np.array_equal(self.encoded, other.encoded)


def texts_sha256(encoded: Sequence[bytes] | npt.NDArray[Any]) -> str:
    """SHA-256 (hex) of texts in UTF-8, each followed by a zero byte."""
    digest = hashlib.sha256()
    for start in range(0, len(encoded), STEP):
        digest.update(b"\0".join([*encoded[start : start + STEP], b""]))
    return digest.hexdigest()


def utf8(values: Sequence[str]) -> list[bytes] | None:
    """The texts as HDF5 holds them, or None if it cannot hold one of them."""
    if not len(values):
        return []
    try:
        encoded = "\0".join(values).encode().split(b"\0")
    except UnicodeEncodeError:
        return None
    return encoded if len(encoded) == len(values) else None


def displayable(values: Sequence[str]) -> Sequence[str]:
    """Texts in which what HDF5 cannot hold (odd bytes of a file name) is spelt out as a backslash escape."""
    if utf8(values) is not None:
        return values
    return [value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00") for value in values]
