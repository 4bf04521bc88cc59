"""One writer per output: a lock file beside it that names its owner, and is taken over when the owner is dead."""

import errno
import json
import os
import socket
import weakref
from pathlib import Path
from typing import Any

from genoconv.errors import OutputError

LOCK_SUFFIX = ".lock"


class OutputLock:
    """The right to write one output, held until `release`.

    The lock `.NAME.lock` says host, process and start of the process (and of a Slurm job). It is stale, and taken over,
    when that process is no more on this host, or when Slurm started the same job again.

    Args:
        output: The output, links followed.

    Raises:
        OutputError: A living process holds the lock, or one that cannot be seen from here.
        OSError: The folder is missing or cannot be written.
    """

    def __init__(self, output: Path) -> None:
        self._path = output.with_name(f".{output.name}{LOCK_SUFFIX}")
        self._text = json.dumps(_identity())
        _take(self._path, output, self._text)
        _HELD[self._path] = weakref.ref(self)

    @property
    def held(self) -> bool:
        """Whether the lock is still ours."""
        try:
            return self._path.read_text() == self._text
        except OSError:
            return False

    def release(self) -> None:
        """Gives the lock back; safe to call twice."""
        _HELD.pop(self._path, None)
        if self.held:
            self._path.unlink(missing_ok=True)


# The locks that live writers of this very process hold; one of its locks that is not here was lost to a signal.
_HELD: dict[Path, weakref.ref[OutputLock]] = {}


def is_abandoned_draft(name: str, output_name: str) -> bool:
    """Whether a file beside the output is the draft of a lock (.NAME.PID.lock) of a process that is no more."""
    pid, _, suffix = name.removeprefix(f".{output_name}.").partition(".")
    return f".{suffix}" == LOCK_SUFFIX and pid.isdecimal() and _start_of(int(pid)) is None


def _take(lock: Path, path: Path, text: str) -> None:
    """Makes the lock file, which appears with its text in it: a process killed here leaves no lock without an owner."""
    draft = path.with_name(f".{path.name}.{os.getpid()}{LOCK_SUFFIX}")
    while True:
        try:
            draft.write_text(text)
            _create_whole(draft, lock, text)
        except FileExistsError:
            _remove_stale(lock, draft, path)
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


def _remove_stale(lock: Path, aside: Path, path: Path) -> None:
    """Removes a lock whose owner is dead.

    Raises:
        OutputError: The owner lives, or runs where this process cannot see it.
    """
    try:
        text = lock.read_text()
    except FileNotFoundError:
        return
    if not _is_stale(lock, text):
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


def _is_stale(lock: Path, text: str) -> bool:
    try:
        owner = json.loads(text)
        host, pid, started = owner["host"], int(owner["pid"]), owner["started"]
        job, restart = owner["job"], int(owner["restart"])
    except (ValueError, KeyError, TypeError):
        return False
    mine = _identity()
    if job and job == mine["job"] and restart < mine["restart"]:
        return True  # the scheduler started this very job again, perhaps on another host
    if (host, pid, started) == (mine["host"], mine["pid"], mine["started"]):
        held = _HELD.get(lock)
        return held is None or held() is None
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
