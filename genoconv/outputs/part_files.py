"""Finished rows, in any order -> small part files, each complete, forced to the disk and only then named."""

import json
import math
import os
import struct
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from genoconv.outputs.atomic import explained, sync_folder
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.patience import signals_waiting

DRAFT_SUFFIX = ".tmp"
ROWS = "rows"
ABOUT = "about.json"
REMARKS = "remarks.json"

PART_BYTES = 64 << 20
"""A part is committed at the latest when it holds so many bytes: so much waits in memory at most."""

DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, struct.error)
"""What reading a damaged part raises."""

Key = tuple[str, int]
"""A pooling and a layer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an array lies in a part file: its first byte, its type, its shape."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One part file: an uncompressed .npz of some rows of the output, with a checksum on each array.

    Attributes:
        path: The file.
        rows: The rows it holds, ascending, (k,) int64.
        about: What computed them.
        remarks: By row, what else is to be said of some.
    """

    path: Path
    rows: Array
    about: Mapping[str, Any]
    remarks: Mapping[int, str]
    _entries: Mapping[str, Entry]

    @classmethod
    def open(cls, path: Path, *, check: bool = True) -> "Part":
        """Notes where everything lies in a part.

        Args:
            path: The file.
            check: Read it whole before, and compare the checksums.

        Raises:
            OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile: It is damaged.
        """
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip() if check else None
            if damaged is not None:
                raise ValueError(f"the checksum of {damaged} does not agree")
            about = json.loads(archive.read(ABOUT))
            remarks = json.loads(archive.read(REMARKS)) if REMARKS in archive.namelist() else {}
            infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            entries = {_name_of(info): _entry(archive, info) for info in infos}
        rows = _read(path, entries[ROWS], 0, entries[ROWS].shape[0])
        part = cls(path, rows, about, {int(row): remark for row, remark in remarks.items()}, entries)
        if (np.diff(part.rows) <= 0).any():
            raise ValueError("its rows do not rise")
        return part

    def read_matrix(self, key: Key, start: int, into: Array) -> None:
        """Reads the numbers of k rows from `rows[start]` on, of one pooling and layer, into an array (k, d)."""
        into[:] = _read(self.path, self._entries[_matrix_name(key)], start, start + len(into))

    def tokens(self, place: int, start: int, stop: int) -> Array:
        """Bases start to stop (0-based, exclusive) of the record of `rows[place]`, (stop - start, d)."""
        return _read(self.path, self._entries[_token_name(int(self.rows[place]))], start, stop)


class PartWriter:
    """Collects finished rows and commits them as part files; each worker has one of its own.

    Args:
        folder: Where the parts go.
        worker: Its number, unless it is the only writer of this process; part of the file names.
        about: What computes the rows; anything that JSON can hold.
        interval: Seconds after the last commit at which finished rows are committed.
    """

    def __init__(self, folder: Path, *, worker: int, about: Mapping[str, Any], interval: float) -> None:
        self._folder = folder
        self._about = dict(about)
        self._interval = interval
        # By process: one that outlives its run, for a moment, never meets the files of the next.
        self._name = f"part-{os.getpid()}-{worker}-"
        serials = [int(path.stem.removeprefix(self._name)) for path in folder.glob(f"{self._name}*.npz")]
        self._serial = max(serials, default=0)
        self._rows: list[Array] = []
        self._values: dict[Key, list[Array]] = {}
        self._remarks: dict[int, str] = {}
        self._archive: zipfile.ZipFile | None = None
        self._bytes = 0
        self._taken = 0
        self._since = time.monotonic()

    def add(self, rows: Array, matrices: Mapping[Key, Array]) -> None:
        """Takes finished rows (k,) and their numbers (k, d) of every pooling and layer, in the stored type."""
        with signals_waiting():
            self._rows.append(rows)
            for key, values in matrices.items():
                self._values.setdefault(key, []).append(values)
                self._bytes += values.nbytes

    def remark(self, row: int, remark: str) -> None:
        """Says something of a row that is added next; both are committed together."""
        self._remarks[row] = remark

    def add_tokens(self, row: int, length: int, pieces: Iterable[Array]) -> None:
        """Takes the numbers of every base of a record; on the disk at once, but not yet committed.

        A row that is never `add`ed afterwards leaves unused bytes; a row that is taken twice counts as last taken.

        Args:
            row: The record.
            length: Its bases.
            pieces: Their numbers, consecutive (k, d). If the first cannot be made, nothing is lost of the part.
        """
        rest = iter(pieces)
        first = next(rest)
        with self._writing():
            self._taken += 1
            name = f"{_token_name(row)}{_ATTEMPT}{self._taken}"
            self._bytes += _write_pieces(self._open(), name, length, chain([first], rest))

    def commit_if_due(self, *, following: float) -> None:
        """Commits when the finished rows are many, or would wait too long with the next work.

        Args:
            following: Seconds that the next work will take, as far as one knows.
        """
        if self._rows and (self._bytes >= PART_BYTES or time.monotonic() - self._since + following >= self._interval):
            self.commit()

    def commit(self) -> None:
        """Closes the part, forces it to the disk and gives it its name; nothing happens when there are no rows.

        Raises:
            OutputError: The disk refuses. The rows of this part are lost, the earlier parts are not.
        """
        if not self._rows:
            self.discard()
            return
        with self._writing():
            rows = np.concatenate(self._rows)
            order = np.argsort(rows, kind="stable")
            archive = self._open()
            _write_array(archive, ROWS, rows[order])
            for key, values in self._values.items():
                _write_array(archive, _matrix_name(key), np.concatenate(values)[order])
            archive.writestr(ABOUT, json.dumps(self._about, sort_keys=True))
            if self._remarks:
                archive.writestr(REMARKS, json.dumps(self._remarks))
            archive.close()
            with self._draft.open("rb") as file:
                os.fsync(file.fileno())
            self._draft.replace(self._draft.with_name(self._draft.name.removesuffix(DRAFT_SUFFIX)))
            sync_folder(self._folder)
            self._forget()

    def discard(self) -> None:
        """Drops what is not committed."""
        if self._archive is not None:
            with suppress(OSError, ValueError):
                self._archive.close()
            with suppress(OSError):
                self._draft.unlink(missing_ok=True)
        self._forget()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with explained(self._folder), signals_waiting():
            try:
                yield
            except BaseException:
                self.discard()
                raise

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None:
            self._serial += 1
            self._archive = zipfile.ZipFile(self._draft, "w", allowZip64=True)
        return self._archive

    @property
    def _draft(self) -> Path:
        return self._folder / f"{self._name}{self._serial:06d}.npz{DRAFT_SUFFIX}"

    def _forget(self) -> None:
        self._archive = None
        self._rows, self._values, self._remarks, self._bytes = [], {}, {}, 0
        self._since = time.monotonic()  # from now on is lost what is not committed


_ATTEMPT = "~"


def _matrix_name(key: Key) -> str:
    return f"{key[0]}_layer_{key[1]}"


def _token_name(row: int) -> str:
    return f"tokens_{row}"


def _name_of(info: zipfile.ZipInfo) -> str:
    """The name of an array: of a record that was computed twice, the second takes the place of the first."""
    return info.filename.removesuffix(".npy").partition(_ATTEMPT)[0]


def _write_array(archive: zipfile.ZipFile, name: str, values: Array) -> None:
    _write_pieces(archive, name, len(values), iter([values]))


def _write_pieces(archive: zipfile.ZipFile, name: str, length: int, pieces: Iterator[Array]) -> int:
    """Writes an array (length, ...) that comes in consecutive pieces; returns its bytes."""
    first = next(pieces)
    shape = (length, *first.shape[1:])
    header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": shape}
    written = 0
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for piece in chain([first], pieces):
            file.write(np.ascontiguousarray(piece).data)
            written += piece.nbytes
    if written != first.dtype.itemsize * math.prod(shape):
        raise ValueError(f"{written} bytes of an array {name} of shape {shape}")
    return written


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        header = file.tell()
    assert archive.fp is not None
    archive.fp.seek(info.header_offset + 26)
    name, extra = struct.unpack("<HH", archive.fp.read(4))
    return Entry(info.header_offset + 30 + name + extra + header, dtype, shape)


def _read(path: Path, entry: Entry, start: int, stop: int) -> Array:
    """Rows start to stop of an array, straight from the file: uncompressed data lie there as in memory."""
    width = int(np.prod(entry.shape[1:], dtype=np.int64))
    size = (stop - start) * width
    values = np.fromfile(path, entry.dtype, size, offset=entry.offset + start * width * entry.dtype.itemsize)
    if len(values) != size:
        raise ValueError(f"{path} is shorter than it was")
    return values.reshape(stop - start, *entry.shape[1:])
