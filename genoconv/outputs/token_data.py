"""Numbers of single bases -> straight to their place in a file, from any thread or process; and their checksums."""

import os
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from genoconv.outputs.hdf5 import Array
from genoconv.outputs.token_layout import CHECKED_ROWS, TokenLayout

WRITERS = 4
"""Threads that check and write: one takes a checksum of 1 to 4 GB/s and fills the page cache at 2."""

WAITING_PIECES = 8
"""Pieces that wait in memory to be written, of 16 MiB each as a rule."""

COPIED_BYTES = 16 << 20

EARLY_BYTES = 1 << 20
"""The disk is told to begin at once with a stretch of so many bytes: in pieces of 16 MiB, 2.9 GB/s instead of 1.9.

Short stretches wait for each other: of 10 kB each, 0.35 GB/s, and 0.12 where each is sent off by itself.
"""


class TokenData:
    """The bare numbers of a per-nucleotide file, without the HDF5 around them.

    Args:
        path: The file.
        layout: Where everything lies in it.
        create: Make it, of its full size: zeros that take no room on the disk.

    Raises:
        OSError: It cannot be opened or made.
    """

    def __init__(self, path: Path, layout: TokenLayout, *, create: bool = False) -> None:
        self.path = path
        self.layout = layout
        new = os.O_CREAT | os.O_EXCL if create else 0
        self._handle = os.open(path, os.O_RDWR | new | getattr(os, "O_BINARY", 0), 0o666)
        if create:
            os.ftruncate(self._handle, layout.end_byte)

    def write(self, place: int, start: int, values: Array) -> Array:
        """Writes consecutive bases of one record; the disk begins at once with a long stretch.

        Args:
            place: The record.
            start: The first of the bases, 0-based; a multiple of `CHECKED_ROWS`.
            values: Their numbers (k, d) in the stored type; k is a multiple of it too, or they are the last.

        Returns:
            The checksums of their stretches, uint32.

        Raises:
            OSError: The disk refuses.
        """
        offset, length = self._span(place, start, len(values))
        if values.nbytes != length or start % CHECKED_ROWS:
            raise ValueError(f"values of shape {values.shape}, {values.dtype} at base {start} of record {place}")
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        view, done = values.view(np.uint8).reshape(-1).data, 0
        while done < length:
            done += os.pwrite(self._handle, view[done:], offset + done)
        if length >= EARLY_BYTES:
            with suppress(AttributeError, OSError):  # where the system does not know of it
                os.posix_fadvise(self._handle, offset, length, os.POSIX_FADV_DONTNEED)
        return checksums(values)

    def read(self, place: int, start: int, stop: int) -> Array:
        """Bases start to stop (0-based, exclusive) of a record, (stop - start, d).

        Raises:
            OSError: It cannot be read.
            ValueError: The file is shorter than it was.
        """
        offset, length = self._span(place, start, stop - start)
        values = np.empty((stop - start, self.layout.width), np.dtype(self.layout.dtype).newbyteorder("<"))
        view, done = values.view(np.uint8).reshape(-1).data, 0
        while done < length:
            found = os.preadv(self._handle, [view[done:]], offset + done)
            if not found:
                raise ValueError(f"{self.path} is shorter than it was")
            done += found
        return values

    def is_sound(self, place: int, expected: Array) -> bool:
        """Whether the numbers of a record are those that had these checksums (m,)."""
        length = int(self.layout.lengths[place])
        step = max(1, COPIED_BYTES // (CHECKED_ROWS * self.layout.row_bytes)) * CHECKED_ROWS
        found = [checksums(self.read(place, start, min(length, start + step))) for start in range(0, length, step)]
        return np.array_equal(np.concatenate([np.empty(0, np.uint32), *found]), expected)

    def sync(self) -> None:
        """Forces what is written to the disk.

        Raises:
            OSError: The disk refuses.
        """
        os.fsync(self._handle)

    def close(self) -> None:
        """Closes the file; safe to call twice."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _span(self, place: int, start: int, count: int) -> tuple[int, int]:
        """First byte and bytes of some bases."""
        layout = self.layout
        if not 0 <= start <= start + count <= layout.lengths[place]:
            raise ValueError(f"bases {start} to {start + count} of a record of {layout.lengths[place]}")
        first = layout.first_byte + (int(layout.starts[place]) + start) * layout.row_bytes
        return first, count * layout.row_bytes


def checksums(values: Array) -> Array:
    """CRC-32 of each `CHECKED_ROWS` consecutive bases (k, d), uint32; the last may be of fewer."""
    stretches = range(0, len(values), CHECKED_ROWS)
    return np.array([zlib.crc32(values[start : start + CHECKED_ROWS].data) for start in stretches], dtype=np.uint32)


class TokenWrites:
    """Pieces on their way to a file, several at once in threads, while others are computed; remembers the checksums.

    Args:
        data: The file.
    """

    def __init__(self, data: TokenData) -> None:
        self._data = data
        self._checks: dict[int, Array] = {}
        self._begun: set[tuple[int, int]] = set()
        self._coming: deque[Future[None]] = deque()
        self._threads: ThreadPoolExecutor | None = None

    def put(self, rows: Sequence[int], start: int, states: Callable[[], Array]) -> None:
        """Takes consecutive bases of some records; may wait until there is room.

        Args:
            rows: The records, (k,); negative: not wanted.
            start: The first of the bases, the same of all; a multiple of `CHECKED_ROWS`. What is taken again replaces
                what was taken before; a record that is to be divided otherwise begins again with 0.
            states: Gives, in another thread, the numbers (k, r, d); those beyond the end of a record are left out.

        Raises:
            OSError: The disk refused something before.
        """
        wanted = [row for row in rows if row >= 0]
        places = self._data.layout.places(np.array(wanted, dtype=np.int64)).tolist()
        if any((row, start) in self._begun or (start == 0 and row in self._checks) for row in wanted):
            self._wait(0)  # or an earlier try might be written over this one
        self._begun.update((row, start) for row in wanted)
        for row, length in zip(wanted, self._data.layout.lengths[places].tolist(), strict=True):
            if row not in self._checks:
                self._checks[row] = np.zeros(-(-length // CHECKED_ROWS), np.uint32)
        place_of = dict(zip(wanted, places, strict=True))
        self._wait(WAITING_PIECES - 1)
        self._threads = self._threads or ThreadPoolExecutor(WRITERS, thread_name_prefix="tokens")
        self._coming.append(self._threads.submit(self._write, rows, place_of, start, states))

    def _write(self, rows: Sequence[int], place_of: dict[int, int], start: int, states: Callable[[], Array]) -> None:
        for row, values in zip(rows, states(), strict=True):
            if row < 0:
                continue
            place = place_of[row]
            count = min(len(values), int(self._data.layout.lengths[place]) - start)
            if count > 0:
                found = self._data.write(place, start, values[:count])
                first = start // CHECKED_ROWS
                self._checks[row][first : first + len(found)] = found

    def settle(self) -> None:
        """Returns when everything is written and forced to the disk.

        Raises:
            OSError: The disk refused something.
        """
        if self._threads is None:
            return
        self._wait(0)
        self._threads.shutdown()
        self._threads = None
        self._data.sync()

    def checksums(self, rows: Sequence[int]) -> Array:
        """The checksums of some records that were taken, one record's behind the other's, uint32.

        Raises:
            KeyError: One of them was not.
        """
        return np.concatenate([np.empty(0, np.uint32), *(self._checks[row] for row in rows)])

    def forget(self) -> None:
        """Waits for what is being written, however it ends, and forgets the checksums."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            self._threads = None
        self._coming.clear()
        self._begun.clear()
        self._checks.clear()

    def close(self) -> None:
        """Forgets what is not written yet, and closes the file; safe to call twice."""
        self.forget()
        self._data.close()

    def _wait(self, left: int) -> None:
        while len(self._coming) > left:
            self._coming[0].result()
            self._coming.popleft()
        if not self._coming:
            self._begun.clear()
