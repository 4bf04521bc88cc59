"""Records of a per-nucleotide file and their lengths -> where in it each of their bases lies, and what is checked."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from genoconv.outputs.hdf5 import Array

CHECKED_ROWS = 4096
"""Bases under one checksum, from the start of each record on: a stretch of one record can be checked by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenLayout:
    """The place of every record in a file of bare numbers, one behind the other.

    Attributes:
        rows: The records, by their rows of the input, ascending, (n,) int64.
        lengths: Their bases, (n,) int64.
        width: Numbers of a base.
        dtype: "f4" or "f2", little-endian.
        first_byte: Where in the file the first base of the first record lies.
        starts: The first base of each record, and the number of all, (n + 1,) int64.
        checks: The first stretch of each record that has a checksum, and the number of all, (n + 1,) int64.
    """

    rows: Array
    lengths: Array
    width: int
    dtype: str
    first_byte: int
    starts: Array = field(init=False)
    checks: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", _sums(self.lengths))
        object.__setattr__(self, "checks", _sums(-(-self.lengths // CHECKED_ROWS)))

    @property
    def row_bytes(self) -> int:
        """Bytes of a base."""
        return self.width * np.dtype(self.dtype).itemsize

    @property
    def end_byte(self) -> int:
        """Where the numbers end."""
        return self.first_byte + int(self.starts[-1]) * self.row_bytes

    @property
    def key(self) -> str:
        """A name that no other layout has."""
        digest = hashlib.sha256(self._words().encode())
        for values in (self.rows, self.lengths):
            digest.update(np.ascontiguousarray(values, dtype="<i8").data)
        return digest.hexdigest()[:16]

    def places(self, rows: Array) -> Array:
        """Where some rows are among the records.

        Raises:
            KeyError: One of them is not.
        """
        places: Array = np.searchsorted(self.rows, rows)
        if len(rows) and (places.max() >= len(self.rows) or (self.rows[places] != rows).any()):
            raise KeyError("a row that is not in the file")
        return places

    def stretches(self, rows: Array) -> Array:
        """Which checksums are those of some records, one record's behind the other's.

        Raises:
            KeyError: A row is not in the file.
        """
        places = self.places(rows)
        counts = np.diff(self.checks)[places]
        before = np.cumsum(counts) - counts
        found: Array = np.repeat(self.checks[:-1][places] - before, counts) + np.arange(counts.sum())
        return found

    def edges(self) -> Array:
        """The first base of each stretch that has a checksum, and the number of all bases, (m + 1,) int64."""
        counts = np.diff(self.checks)
        within = np.arange(self.checks[-1]) - np.repeat(self.checks[:-1], counts)
        return np.append(np.repeat(self.starts[:-1], counts) + within * CHECKED_ROWS, self.starts[-1])

    def save(self, path: Path) -> None:
        """Writes it to a new file."""
        with path.open("xb") as file:
            np.savez(file, rows=self.rows, lengths=self.lengths, about=np.array(self._words()))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile: It is damaged.
        """
        with np.load(path) as found:
            width, dtype, first_byte = json.loads(str(found["about"]))
            return cls(found["rows"], found["lengths"], width, dtype, first_byte)

    def _words(self) -> str:
        return json.dumps([self.width, self.dtype, self.first_byte])


def _sums(counts: Array) -> Array:
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
