"""Signals become exceptions, so that every open file is closed in order before the program ends."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from genoconv.errors import Interrupted

STOPPING = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
"""What ends a run: Ctrl-C, and what batch systems send ahead of a time limit or a requeue (those of this system)."""


@contextmanager
def stop_on_signals(*, after: float | None = None) -> Iterator[None]:
    """Raise `Interrupted` in the main thread when the run is asked to stop; earlier handlers come back afterwards.

    Args:
        after: Seconds after which the run asks itself to stop (None: never).
    """
    known = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
    known += [signal.SIGALRM] if after is not None else []
    before = {number: signal.signal(number, _interrupt) for number in known}
    timer = signal.setitimer(signal.ITIMER_REAL, max(after, 1e-3)) if after is not None else None
    try:
        yield
    finally:
        if timer is not None:
            signal.setitimer(signal.ITIMER_REAL, *timer)
        for number, handler in before.items():
            signal.signal(number, handler)


def process_age() -> float:
    """Seconds since this process started, the time of its imports included; 0 where the system does not say."""
    try:
        stat = Path("/proc/self/stat").read_text()
        ticks = int(stat.rpartition(")")[2].split()[19])  # after the name, which may hold anything
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, AttributeError):
        return 0.0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise each time: Python swallows what is raised while it clears an object away, so one signal may be lost."""
    raise Interrupted(signal.Signals(number))
