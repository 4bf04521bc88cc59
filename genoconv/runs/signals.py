"""Signals become exceptions, so that every open file is closed in order before the program ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
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


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise each time: Python swallows what is raised while it clears an object away, so one signal may be lost."""
    raise Interrupted(signal.Signals(number))
