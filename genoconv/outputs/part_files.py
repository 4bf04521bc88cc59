"""Finished rows, in any order -> small part files, each complete, forced to the disk and only then named."""

import json
import os
import struct
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from genoconv.outputs.atomic import explained, sync_folder
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.patience import signals_waiting
from genoconv.outputs.token_data import TokenData, TokenWrites

DRAFT_SUFFIX = ".tmp"
ROWS = "rows"
ABOUT = "about.json"
REMARKS = "remarks.json"
TOKEN_CHECKSUMS = "token_crc32"

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
            entries = {info.filename.removesuffix(".npy"): _entry(archive, info) for info in infos}
        rows = _read(path, entries[ROWS], 0, entries[ROWS].shape[0])
        part = cls(path, rows, about, {int(row): remark for row, remark in remarks.items()}, entries)
        if (np.diff(part.rows) <= 0).any():
            raise ValueError("its rows do not rise")
        return part

    def read_matrix(self, key: Key, start: int, into: Array) -> None:
        """Reads the numbers of k rows from `rows[start]` on, of one pooling and layer, into an array (k, d)."""
        entry = self._entries[_matrix_name(key)]
        if (into.dtype, into.shape[1:]) != (entry.dtype, entry.shape[1:]):
            raise ValueError(f"rows of {entry.dtype} {entry.shape[1:]} into an array of {into.dtype} {into.shape}")
        _read_into(self.path, entry, start, into)

    def token_checksums(self) -> Array:
        """The checksums of the numbers of single bases, which lie in the draft; row by row, (m,) uint32.

        Raises:
            KeyError: It is a part of a run without such numbers.
        """
        entry = self._entries[TOKEN_CHECKSUMS]
        return _read(self.path, entry, 0, entry.shape[0])


class Waiting:
    """Finished rows that are not committed; a source of rows as a `Part` is.

    Args:
        rows: The rows, in any order, (k,) int64.
        values: Their numbers of every pooling and layer; arrays that are (k, d) together.
        about: What computed them.
        remarks: By row, what else is to be said of some.
    """

    def __init__(
        self, rows: Array, values: Mapping[Key, list[Array]], about: Mapping[str, Any], remarks: Mapping[int, str]
    ) -> None:
        self._order = np.argsort(rows, kind="stable")
        self._values, self._joined = values, dict[Key, Array]()
        self.rows, self.about, self.remarks = rows[self._order], about, remarks

    def read_matrix(self, key: Key, start: int, into: Array) -> None:
        """As `Part.read_matrix`."""
        if key not in self._joined:
            self._joined[key] = np.concatenate(self._values[key])
        into[...] = self._joined[key][self._order[start : start + len(into)]]


class PartWriter:
    """Collects finished rows and commits them as part files; each worker has one of its own.

    A context manager: at its end, however it comes, what waits is committed.

    Args:
        folder: Where the parts go.
        worker: Its number, unless it is the only writer of this process; part of the file names.
        about: What computes the rows; anything that JSON can hold.
        interval: Seconds after the last commit at which finished rows are committed.
        tokens: Where the numbers of single bases go, if there are any.
        first: Called before the first part is written.

    Attributes:
        listener: Told the rows and numbers of each `add`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        worker: int,
        about: Mapping[str, Any],
        interval: float,
        tokens: TokenData | None = None,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        self.listener: Callable[[Array, Mapping[Key, Array]], None] | None = None
        self._first = first
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
        self._tokens = None if tokens is None else TokenWrites(tokens)
        self._bytes = 0
        self._since = time.monotonic()

    def add(self, rows: Array, matrices: Mapping[Key, Array]) -> None:
        """Takes finished rows (k,) and their numbers (k, d) of every pooling and layer, in the stored type."""
        with signals_waiting():
            self._rows.append(rows)
            for key, values in matrices.items():
                self._values.setdefault(key, []).append(values)
                self._bytes += values.nbytes
            if self.listener is not None:
                self.listener(rows, matrices)

    def remark(self, row: int, remark: str) -> None:
        """Says something of a row that is added next; both are committed together."""
        self._remarks[row] = remark

    def add_tokens(self, rows: Sequence[int], start: int, states: Callable[[], Array]) -> None:
        """Takes the numbers of consecutive bases of some records, as `TokenWrites.put` does.

        They are on their way to the disk at once, but count only when their rows are `add`ed and committed.

        Raises:
            OutputError: The disk refuses.
        """
        if self._tokens is None:
            raise ValueError("there is no place for the numbers of single bases")
        with self._writing():
            self._tokens.put(rows, start, states)

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
            self._first()
            rows = np.concatenate(self._rows)
            order = _ascending(rows)
            self._serial += 1
            with zipfile.ZipFile(self._draft, "w", allowZip64=True) as archive:
                _write_array(archive, ROWS, rows[order])
                for key, values in self._values.items():
                    _write_array(archive, _matrix_name(key), np.concatenate(values)[order])
                if self._tokens is not None:
                    self._tokens.settle()
                    _write_array(archive, TOKEN_CHECKSUMS, self._tokens.checksums(rows[order].tolist()))
                archive.writestr(ABOUT, json.dumps(self._about, sort_keys=True))
                if self._remarks:
                    archive.writestr(REMARKS, json.dumps(self._remarks))
            with self._draft.open("rb") as file:
                os.fsync(file.fileno())
            self._draft.replace(self._draft.with_name(self._draft.name.removesuffix(DRAFT_SUFFIX)))
            sync_folder(self._folder)
            self._forget()

    def waiting(self) -> Waiting | None:
        """What is not committed, if there is any."""
        if not self._rows:
            return None
        values = {key: several.copy() for key, several in self._values.items()}
        return Waiting(np.concatenate(self._rows), values, self._about, dict(self._remarks))

    def discard(self) -> None:
        """Drops what is not committed."""
        with suppress(OSError):
            self._draft.unlink(missing_ok=True)
        self._forget()

    def close(self) -> None:
        """Ends the threads that write, and closes what they write to; safe to call twice."""
        if self._tokens is not None:
            self._tokens.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with closing(self):
            self.commit()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with explained(self._folder), signals_waiting():
            try:
                yield
            except BaseException:
                self.discard()
                raise

    @property
    def _draft(self) -> Path:
        return self._folder / f"{self._name}{self._serial:06d}.npz{DRAFT_SUFFIX}"

    def _forget(self) -> None:
        if self._tokens is not None:
            self._tokens.forget()
        self._rows, self._values, self._remarks, self._bytes = [], {}, {}, 0
        self._since = time.monotonic()  # from now on is lost what is not committed


def _ascending(rows: Array) -> Array | slice:
    """What takes rows in order; of rows that are, as those of like length are, nothing is copied."""
    return slice(None) if (np.diff(rows) > 0).all() else np.argsort(rows, kind="stable")


def _matrix_name(key: Key) -> str:
    return f"{key[0]}_layer_{key[1]}"


def _write_array(archive: zipfile.ZipFile, name: str, values: Array) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)


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
    values = np.empty((stop - start, *entry.shape[1:]), entry.dtype)
    _read_into(path, entry, start, values)
    return values


def _read_into(path: Path, entry: Entry, start: int, values: Array) -> None:
    """The same from row `start` on, into contiguous memory of that type."""
    row_bytes = int(np.prod(entry.shape[1:], dtype=np.int64)) * entry.dtype.itemsize
    memory = values.data.cast("B") if values.size else memoryview(b"")
    with path.open("rb", buffering=0) as file:
        file.seek(entry.offset + start * row_bytes)
        while memory:
            count = file.readinto(memory)
            if not count:
                raise ValueError(f"{path} is shorter than it was")
            memory = memory[count:]
