"""Signals wait until HDF5 is done, and none is lost."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from genoconv.outputs.patience import signals_waiting


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_waits_for_the_end_of_the_block() -> None:
    reached = False
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), signals_waiting(), signals_waiting():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        reached = sum(range(1000)) > 0
    assert reached
    assert signal.getsignal(signal.SIGINT) is before


def test_the_error_of_the_block_is_kept_beside_the_signal() -> None:
    with pytest.raises(KeyboardInterrupt) as raised, signals_waiting():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("of the block")
    assert isinstance(raised.value.__context__, ValueError)


def test_other_threads_are_left_alone() -> None:
    done = []

    def work() -> None:
        with signals_waiting():
            done.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [before]
