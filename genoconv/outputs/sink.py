"""Bytes of one new file on their way to the disk; the first failure is kept, and told when it is safe to tell it."""

import os
from pathlib import Path


class Sink:
    """A binary file for HDF5 to write to that never reports a failure to it.

    HDF5 cannot close a file whose disk is full: what it could not write stays in its caches, and the process dies with
    a segmentation fault at its end (tried with HDF5 2.0, 8 limits of 9). So a failed write looks like a good one, all
    later ones are dropped, and the owner asks for `failure` after each call of HDF5.

    Args:
        path: A new file.
        held: Bytes of a file that is there already, which HDF5 has no business with: it writes around them.

    Attributes:
        failure: The first thing that went wrong, or None.

    Raises:
        OSError: The file exists or cannot be created; with `held`, it is not there.
    """

    def __init__(self, path: Path, *, held: range | None = None) -> None:
        self.failure: Exception | None = None
        new = os.O_CREAT | os.O_EXCL if held is None else 0
        self._handle = os.open(path, os.O_RDWR | new | getattr(os, "O_BINARY", 0), 0o666)
        self._held = held or range(0)
        self._position = 0
        self._size = 0

    def abandon(self) -> None:
        """Drops all that is still to be written: the file will be thrown away."""
        self.failure = self.failure or InterruptedError("the file was abandoned")

    def sync(self) -> None:
        """Forces the file to the disk.

        Raises:
            OSError: The disk refuses.
        """
        os.fsync(self._handle)

    def close(self) -> None:
        """Closes the file; safe to call twice.

        Raises:
            OSError: The disk refuses what was written (some network file systems say so only here).
        """
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a place, from the start or the end of the file."""
        self._position = offset if whence == os.SEEK_SET else self._size + offset
        return self._position

    def tell(self) -> int:
        """The place of the next read or write."""
        return self._position

    def write(self, data: memoryview) -> int:
        """Writes all of `data`, or notes why that failed."""
        view = memoryview(data).cast("B")
        try:
            if self._position < self._held.stop and self._position + len(view) > self._held.start:
                raise ValueError(f"HDF5 writes {len(view)} bytes at {self._position}, into what is held: {self._held}")
            done = 0
            while done < len(view) and self.failure is None:
                done += os.pwrite(self._handle, view[done:], self._position + done)
        except Exception as error:
            self.failure = self.failure or error
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def read(self, size: int) -> bytes:
        """The next `size` bytes, as `readinto` finds them."""
        buffer = bytearray(size)
        self.readinto(memoryview(buffer))
        return bytes(buffer)

    def readinto(self, buffer: memoryview) -> int:
        """Fills `buffer` from the file; beyond its end, and where a write failed, with zeros."""
        view = memoryview(buffer).cast("B")
        done = 0
        try:
            while self.failure is None and done < len(view):
                found = os.preadv(self._handle, [view[done:]], self._position + done)
                done += found
                if not found:
                    break
        except Exception as error:
            self.failure = self.failure or error
        view[done:] = bytes(len(view) - done)
        self._position += len(view)
        return len(view)

    def truncate(self, size: int) -> int:
        """Cuts or lengthens the file to `size` bytes."""
        try:
            if size < self._held.stop:
                raise ValueError(f"HDF5 cuts the file to {size} bytes, into what is held: {self._held}")
            if self.failure is None:
                os.ftruncate(self._handle, size)
        except Exception as error:
            self.failure = self.failure or error
        self._size = size
        return size

    def flush(self) -> None:
        """Nothing waits here."""
