"""One output file, from a hidden temporary name to its final name in one step; one writer at a time."""

import errno
import glob
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from genoconv.errors import OutputError
from genoconv.outputs.lock import OutputLock, is_abandoned_draft
from genoconv.outputs.patience import signals_waiting
from genoconv.outputs.sink import Sink

PART_SUFFIX = ".part"

_REASONS = {
    errno.ENOENT: ("the folder does not exist", "Create the folder, or name another output."),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Name another output."),
    errno.EACCES: ("no permission to write in this folder", "Name an output in a folder of your own."),
    errno.EPERM: ("no permission to write in this folder", "Name an output in a folder of your own."),
    errno.EROFS: ("the file system is read-only", "Name an output on another file system."),
    errno.ENOSPC: ("the disk is full", "Free some space, or name an output on another file system."),
    errno.EDQUOT: ("your disk quota is used up", "Free some space, or name an output on another file system."),
    errno.EFBIG: ("the file grew beyond the size that is allowed here", "Raise the limit (ulimit -f), or write less."),
    errno.ENAMETOOLONG: ("the file name is too long", "Name a shorter output."),
}


class AtomicFile:
    """The right to write one output file: a lock, a temporary name beside it, and the final rename.

    Temporary files that dead writers of the same output left are removed. The file under the final name is only ever
    replaced, whole. A context manager; without `publish` nothing is left behind.

    Attributes:
        path: The final name, links followed.
        temporary: The hidden name to write to, in the same folder.

    Raises:
        OutputError: The output exists and `overwrite` is false, another process is writing it, the folder is missing
            or cannot be written, or less than `needed_bytes` are free there.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False, needed_bytes: int = 0) -> None:
        self.path = Path(os.path.realpath(path))
        self.overwrite = overwrite
        self.temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}{PART_SUFFIX}")
        self._sink: Sink | None = None
        self._lent = False
        self._refuse_existing()
        with explained(self.path):
            self._lock = OutputLock(self.path)
        try:
            with explained(self.path):
                self._remove_leftovers()
                _refuse_small_disk(self.path, needed_bytes)
        except BaseException:
            self.discard()
            raise

    def create(self) -> Sink:
        """Creates the temporary file, for HDF5 to write to under `writing`."""
        with explained(self.path):
            self._sink = Sink(self.temporary)
        return self._sink

    def complete(self, path: Path, held: range) -> Sink:
        """Opens a file whose numbers are there already, for HDF5 to write the rest around them under `writing`.

        Args:
            path: In the folder of the final name, or one below it. It stays until `publish`, whatever happens.
            held: The bytes that are there.
        """
        with explained(self.path):
            self._sink = Sink(path, held=held)
        self._lent = path != self.temporary
        self.temporary = path
        return self._sink

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Tells after the block what went wrong with the file in it, whatever HDF5 made of that; signals wait so long.

        Raises:
            OutputError: The disk refused to take the file.
        """
        with explained(self.path), signals_waiting():
            try:
                yield
            except Exception as error:
                if self._sink is not None and self._sink.failure is not None:
                    raise self._sink.failure from error
                raise
            if self._sink is not None and self._sink.failure is not None:
                raise self._sink.failure

    @contextmanager
    def syncing(self) -> Iterator[None]:
        """Forces the finished file to the disk while the block reads it; it is a quarter of the time of either.

        Raises:
            OutputError: The disk refuses.
        """
        with ThreadPoolExecutor(1) as beside:
            forced = beside.submit(self._sync)
            yield
        with self.writing():
            forced.result()

    def publish(self) -> None:
        """Gives the finished temporary file its final name, safely against a power cut.

        Raises:
            OutputError: The disk refuses, or the lock or the final name was taken by somebody else meanwhile.
        """
        with self.writing():
            self._sync()
            if self._sink is not None:
                self._sink.close()
            if not self._lock.held:
                raise OutputError(
                    "another process took over this output", where=str(self.path), fix="Let one job write one output."
                )
            self._refuse_existing()
            self.temporary.replace(self.path)
            sync_folder(self.path.parent)
        self.discard()

    @contextmanager
    def abandoned(self) -> Iterator[None]:
        """Lets HDF5 close the temporary file in the block without writing more to it, then discards it."""
        with signals_waiting():
            if self._sink is not None:
                self._sink.abandon()
            try:
                yield
            finally:
                self.discard()

    def discard(self) -> None:
        """Removes the temporary file and gives the lock back; safe to call twice, and after `publish`."""
        if self._sink is not None:
            with suppress(OSError):
                self._sink.close()
        with suppress(OSError):
            if not self._lent:
                self.temporary.unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def _refuse_existing(self) -> None:
        if self.path.is_dir():
            raise OutputError("the output is a folder", where=str(self.path), fix="Name a file.")
        if self.path.exists() and not self.overwrite:
            raise OutputError(
                "the output exists already", where=str(self.path), fix="Add --force to replace it, or name another."
            )

    def _sync(self) -> None:
        if self._sink is not None:
            self._sink.sync()
            return
        with self.temporary.open("rb") as file:  # written by its name
            os.fsync(file.fileno())

    def _remove_leftovers(self) -> None:
        """Removes files of dead writers: whoever holds the lock is the only living writer, drafts of locks apart."""
        for leftover in self.path.parent.glob(f".{glob.escape(self.path.name)}.*"):
            pid, _, suffix = leftover.name.removeprefix(f".{self.path.name}.").partition(".")
            abandoned_part = f".{suffix}" == PART_SUFFIX and pid.isdecimal()
            if abandoned_part or is_abandoned_draft(leftover.name, self.path.name):
                leftover.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns errors of the operating system on `path` into `OutputError`."""
    try:
        yield
    except OSError as error:
        reason, fix = _REASONS.get(error.errno or 0, (str(error) or type(error).__name__, ""))
        raise OutputError(f"the output cannot be written: {reason}", where=str(path), fix=fix) from error


def _refuse_small_disk(path: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed_bytes > free:
        raise OutputError(
            f"the output needs about {needed_bytes / 1e9:,.2f} GB and {free / 1e9:,.2f} GB are free",
            where=str(path),
            fix="Free some space, name an output on another file system, or write less (--dtype f2, fewer layers).",
        )


def sync_folder(folder: Path) -> None:
    """Forces a folder to the disk; file systems that cannot do so are left alone."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)
