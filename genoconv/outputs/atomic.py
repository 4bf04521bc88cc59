"""One output file, from a hidden temporary name to its final name in one step; one writer at a time."""

import errno
import glob
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from genoconv.errors import OutputError

LOCK_SUFFIX = ".lock"
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

    The lock `.NAME.lock` holds host and process id; one whose process is dead on this host is taken over, and the
    temporary files such a process left are removed. The file under the final name is only ever replaced, whole.

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
        self._lock = self.path.with_name(f".{self.path.name}{LOCK_SUFFIX}")
        self._held = ""
        self._refuse_existing()
        with explained(self.path):
            _take_lock(self._lock, self.path)
            self._held = self._lock.read_text()
        try:
            with explained(self.path):
                self._remove_leftovers()
                _refuse_small_disk(self.path, needed_bytes)
        except BaseException:
            self.discard()
            raise

    def publish(self) -> None:
        """Gives the finished, closed temporary file its final name, safely against a power cut.

        Raises:
            OutputError: The disk refuses, or the lock or the final name was taken by somebody else meanwhile.
        """
        with explained(self.path):
            _sync(self.temporary)
            if not self._owns_lock():
                raise OutputError(
                    "another process took over this output", where=str(self.path), fix="Let one job write one output."
                )
            self._refuse_existing()
            self.temporary.replace(self.path)
            _sync(self.path.parent)
        self.discard()

    def discard(self) -> None:
        """Removes the temporary file and gives the lock back; safe to call twice."""
        self.temporary.unlink(missing_ok=True)
        if self._held and self._owns_lock():
            self._lock.unlink(missing_ok=True)
        self._held = ""

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

    def _remove_leftovers(self) -> None:
        """Removes files of dead writers: whoever holds the lock is the only living writer, drafts of locks apart."""
        for leftover in self.path.parent.glob(f".{glob.escape(self.path.name)}.*"):
            pid, _, suffix = leftover.name[len(self.path.name) + 2 :].partition(".")
            dead_draft = f".{suffix}" == LOCK_SUFFIX and pid.isdecimal() and _start_of(int(pid)) is None
            if dead_draft or (f".{suffix}" == PART_SUFFIX and pid.isdecimal()):
                leftover.unlink(missing_ok=True)

    def _owns_lock(self) -> bool:
        try:
            return self._lock.read_text() == self._held
        except OSError:
            return False


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns errors of the operating system (and HDF5's, which carry its numbers) on `path` into `OutputError`."""
    try:
        yield
    except OSError as error:
        number = error.errno or _number_in(str(error))
        reason, fix = _REASONS.get(number, (str(error).splitlines()[0] if str(error) else type(error).__name__, ""))
        raise OutputError(f"the output cannot be written: {reason}", where=str(path), fix=fix) from error


def _number_in(message: str) -> int:
    """The error number that HDF5 hides in its message: "... errno = 28, error message = ..."."""
    _, found, rest = message.partition("errno = ")
    digits = rest.split(",", 1)[0].strip()
    return int(digits) if found and digits.isdecimal() else 0


def _refuse_small_disk(path: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed_bytes > free:
        raise OutputError(
            f"the output needs about {needed_bytes / 1e9:,.2f} GB and {free / 1e9:,.2f} GB are free",
            where=str(path),
            fix="Free some space, name an output on another file system, or write less (--dtype f2, fewer layers).",
        )


def _sync(path: Path) -> None:
    """Forces a file or a folder to the disk; file systems that cannot do so for folders are left alone."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EBADF)):
            raise
    finally:
        os.close(handle)


def _take_lock(lock: Path, path: Path) -> None:
    """Makes the lock file, which appears with its text in it: a process killed here leaves no lock without an owner."""
    draft = path.with_name(f".{path.name}.{os.getpid()}{LOCK_SUFFIX}")
    mine = json.dumps(_identity())
    while True:
        draft.write_text(mine)
        try:
            _create_whole(draft, lock, mine)
        except FileExistsError:
            _remove_stale_lock(lock, draft, path)
            continue
        finally:
            draft.unlink(missing_ok=True)
        return


def _create_whole(draft: Path, lock: Path, text: str) -> None:
    try:
        os.link(draft, lock)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        with lock.open("x") as file:  # a file system without hard links
            file.write(text)


def _remove_stale_lock(lock: Path, aside: Path, path: Path) -> None:
    """Removes a lock whose owner is dead.

    Raises:
        OutputError: The owner lives, or runs where this process cannot see it.
    """
    try:
        text = lock.read_text()
    except FileNotFoundError:
        return
    if not _is_stale(text):
        raise OutputError(
            f"another process is writing this output ({_owner(text)})",
            where=str(path),
            fix=f"Wait for it, or name another output; if no such process runs, remove {lock}",
        )
    # Two processes may find the same stale lock. A rename is given to one of them, and shows if it was a newer lock.
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return
    if aside.read_text() != text and not lock.exists():
        aside.rename(lock)


def _is_stale(text: str) -> bool:
    try:
        owner = json.loads(text)
        host, pid, started = owner["host"], int(owner["pid"]), owner["started"]
        job, restart = owner["job"], int(owner["restart"])
    except (ValueError, KeyError, TypeError):
        return False
    mine = _identity()
    if job and job == mine["job"] and restart < mine["restart"]:
        return True  # the scheduler started this very job again, perhaps on another host
    now = _start_of(pid)
    return bool(host == mine["host"] and (now is None or (now != started and "?" not in (now, started))))


def _owner(text: str) -> str:
    try:
        owner = json.loads(text)
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "its lock file is unreadable"


def _identity() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _start_of(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "restart": int(os.environ.get("SLURM_RESTART_COUNT", "0") or "0"),
    }


def _start_of(pid: int) -> str | None:
    """When process `pid` of this host started (an opaque text; "?" where unknown), or None if there is none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "?"
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "?"
    fields = stat.rpartition(")")[2].split()  # after the name, which may hold anything; state, then the numbers
    return None if fields[0] in "ZX" else fields[19]
