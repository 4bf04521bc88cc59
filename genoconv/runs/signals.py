"""Signals become exceptions, so that every open file is closed in order before the program ends."""

import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from genoconv.errors import Interrupted

STOPPING = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
"""What ends a run: Ctrl-C, and what batch systems send ahead of a time limit or a requeue (those of this system)."""

WAKE_EVERY = 0.05
"""Seconds between two tries to wake the main thread; each costs microseconds."""

_AGAIN = 128
"""Added to the number of a signal that is to be given once more; all signals' own numbers are smaller."""


@contextmanager
def stop_on_signals(*, after: float | None = None, for_good: bool = False) -> Iterator[None]:
    """Raise `Interrupted` in the main thread when the run is asked to stop; earlier handlers come back afterwards.

    What the main thread waits for (a sleep, a lock, a process, a pipe) is broken off. A call that computes is not: the
    exception is raised when it comes back to Python. It has to leave the block: if something swallows it, as Python
    itself does while it clears objects away, it is raised again.

    Args:
        after: Seconds after which the run asks itself to stop (None: never).
        for_good: The program ends after the block, which takes a second with PyTorch: whoever asks it to stop by then,
            or asks again, is not heard, so that its exit code stands.
    """
    known = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
    known += [signal.SIGALRM] if after is not None else []
    waker = _Waker()
    handlers = dict.fromkeys(known, waker.interrupt) | {signal.SIGURG: waker.note_awake}
    with ExitStack() as restored:
        for number, handler in handlers.items():
            earlier = signal.signal(number, handler)
            restored.callback(signal.signal, number, signal.SIG_IGN if for_good else earlier)
        if after is not None:
            timer = signal.setitimer(signal.ITIMER_REAL, max(after, 1e-3))
            restored.callback(signal.setitimer, signal.ITIMER_REAL, *timer)
        restored.enter_context(waker)  # the first to end: it sends signals that need their handlers
        yield


def process_age() -> float:
    """Seconds since this process started, the time of its imports included; 0 where the system does not say."""
    try:
        stat = Path("/proc/self/stat").read_text()
        ticks = int(stat.rpartition(")")[2].split()[19])  # after the name, which may hold anything
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, AttributeError):
        return 0.0


class _Waker:
    """Sees to it that no signal is acted on late, or never.

    The system may give a signal to any thread, torch's own included, or to the main one just before that begins to
    wait: Python then only notes it, and runs the handler in the main thread when the wait is over. But Python also
    writes the signal's number to a pipe, whichever thread was given it. A thread reads the pipe, and sends the main one
    SIGURG, which ends any wait, until the main one has run its handlers. SIGURG means nothing else here, and the system
    ignores it where it has no handler.
    """

    def __init__(self) -> None:
        source, sink = os.pipe()
        os.set_blocking(sink, False)
        self._source, self._sink = FileIO(source, "rb"), FileIO(sink, "wb")
        self._awake = self._stopped = False
        self._raised = set[weakref.ref[Interrupted]]()
        self._thread = threading.Thread(target=self._watch, name="genoconv-signals", daemon=True)

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """The handler of what stops a run."""
        error = Interrupted(signal.Signals(number))

        def swallowed(reference: weakref.ref[Interrupted]) -> None:
            self._raised.discard(reference)
            if not self._stopped:
                self._sink.write(bytes([_AGAIN + number]))

        self._raised.add(weakref.ref(error, swallowed))
        try:
            raise error
        finally:
            del error  # or it holds the frame that holds it, and goes when Python next looks for such rings

    def note_awake(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGURG, which the main thread runs after those of all signals that stop a run."""
        self._awake = True

    def __enter__(self) -> Self:
        self._earlier = signal.set_wakeup_fd(self._sink.fileno(), warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        signal.set_wakeup_fd(self._earlier)
        self._sink.close()
        self._thread.join()

    def _watch(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        with self._source:
            while numbers := self._source.read(64):
                self._awake = all(number == signal.SIGURG for number in numbers)
                while not self._awake and not self._stopped:
                    signal.pthread_kill(main, signal.SIGURG)
                    time.sleep(WAKE_EVERY)
                for number in numbers:
                    if number > _AGAIN and not self._stopped:
                        signal.pthread_kill(main, number - _AGAIN)
