"""Signals wait while HDF5 works: an exception out of a signal handler in the midst of its writing would break it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

# Those with handlers that may raise: Ctrl-C, what schedulers send before they kill, timers.
PATIENT_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGALRM")
    if hasattr(signal, name)
)

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def signals_waiting() -> Iterator[None]:
    """Holds back the Python handlers of signals that arrive in the block, and calls them at its end.

    Only the main thread runs handlers, so in any other thread this does nothing. Signals that are ignored, or that end
    the process without any handler, do as always.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[tuple[Handler, int, FrameType | None]] = []
    try:
        with ExitStack() as restored:
            for number in PATIENT_SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    restored.callback(signal.signal, number, handler)
                    signal.signal(number, _keeper(arrived, handler))
            yield
    finally:
        for handler, number, frame in arrived:
            handler(number, frame)


def _keeper(arrived: list[tuple[Handler, int, FrameType | None]], handler: Handler) -> Handler:
    def keep(number: int, frame: FrameType | None) -> None:
        arrived.append((handler, number, frame))

    return keep
