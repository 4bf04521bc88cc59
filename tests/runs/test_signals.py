"""A signal ends a run, whichever of its threads the system gives it to, and whatever the main one waits for."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from genoconv.errors import Interrupted
from genoconv.outputs.patience import signals_waiting
from genoconv.runs.signals import stop_on_signals

LONG = 30.0
"""Seconds that a wait takes which nobody breaks off."""

WAITS: dict[str, Callable[[], object]] = {
    "a sleep": lambda: time.sleep(LONG),
    "a queue": lambda: queue.SimpleQueue[int]().get(timeout=LONG),
    "a thread": lambda: threading.Event().wait(LONG),
    "a process": lambda: subprocess.run([sys.executable, "-c", f"import time; time.sleep({LONG})"], check=False),
}
NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]


@pytest.fixture
def helper() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Calls something in another thread, some time later, when the main thread waits."""
    threads = []

    def call_soon(work: Callable[[], object]) -> None:
        thread = threading.Timer(0.2, work)
        threads.append(thread)
        thread.start()

    yield call_soon
    for thread in threads:
        thread.join()


Helper = Callable[[Callable[[], object]], None]


def get(number: signal.Signals) -> None:
    """This very thread is given a signal."""
    signal.pthread_kill(threading.get_ident(), number)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
@pytest.mark.parametrize("wait", WAITS)
def test_a_signal_that_another_thread_gets_breaks_off_a_wait(helper: Helper, wait: str, number: signal.Signals) -> None:
    begin = time.monotonic()
    with pytest.raises(Interrupted, match=number.name), stop_on_signals():  # noqa: PT012
        helper(lambda: get(number))
        WAITS[wait]()
    assert time.monotonic() - begin < LONG / 2


def test_a_time_limit_that_another_thread_is_told_of_breaks_off_a_wait() -> None:
    begin = time.monotonic()
    try:
        with pytest.raises(Interrupted, match="time limit"), stop_on_signals(after=0.2):  # noqa: PT012
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            time.sleep(LONG)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    assert time.monotonic() - begin < LONG / 2


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_a_signal_is_acted_on_once(number: signal.Signals) -> None:
    times = 0
    with pytest.raises(Interrupted), stop_on_signals():  # noqa: PT012
        try:
            os.kill(os.getpid(), number)
            time.sleep(LONG)
        except Interrupted:
            times += 1
            time.sleep(0.3)  # in which the main thread is woken
            raise
    assert times == 1


class Swallowing:
    """What is raised while such an object is cleared away is told on stderr, and forgotten."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_that_python_swallows_is_acted_on_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda told: None)  # pytest's own keeps what was raised
    with pytest.raises(Interrupted, match="SIGTERM"), stop_on_signals():  # noqa: PT012
        swallowing = Swallowing()
        del swallowing
        time.sleep(LONG)


def test_a_signal_that_a_library_swallows_is_acted_on_all_the_same() -> None:
    reached = False
    with pytest.raises(Interrupted, match="SIGUSR1"), stop_on_signals():  # noqa: PT012
        with suppress(Exception):
            os.kill(os.getpid(), signal.SIGUSR1)
        reached = True
        time.sleep(LONG)
    assert reached


def test_what_may_not_be_broken_off_is_not(helper: Helper) -> None:
    reached = False
    with pytest.raises(Interrupted), stop_on_signals(), signals_waiting():  # noqa: PT012
        helper(lambda: get(signal.SIGTERM))
        time.sleep(0.5)
        reached = True
    assert reached


def test_a_stop_within_another_leaves_that_as_it_was(helper: Helper) -> None:
    begin = time.monotonic()
    with pytest.raises(Interrupted), stop_on_signals():  # noqa: PT012
        with stop_on_signals(after=LONG):
            pass
        helper(lambda: get(signal.SIGUSR1))
        time.sleep(LONG)
    assert time.monotonic() - begin < LONG / 2


def state() -> list[object]:
    """What a stop changes and has to restore: handlers, threads, open files."""
    handlers = [signal.getsignal(number) for number in (*NUMBERS, signal.SIGURG, signal.SIGALRM)]
    return [*handlers, threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))]


def test_all_is_as_before_afterwards() -> None:
    before = state()
    for _ in range(3):
        with stop_on_signals(after=LONG):
            assert state() != before
    assert state() == before
    assert signal.set_wakeup_fd(-1) == -1
