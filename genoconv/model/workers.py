"""Pieces of work -> the cores of the CPU, each core busy with a piece of its own.

Torch shares out every single operation, and all threads wait for the slowest after each: thousands of times a second
here, which costs 20% of the time on a quiet machine and several times as much where other programs use the cores. Whole
chunks are shared out instead, to threads that compute with one core each, and the only wait is at the end of a sweep.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TypeVar

import torch

from genoconv.kernels.scripts import one_of_many

# Threads from which on they wait longer for Python's lock than TorchScript's memory is worth: two save 1 to 3%.
MANY_THREADS = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """As many threads as torch uses for an operation; with one, and on a GPU, the caller's own. Use as a context.

    Args:
        device: Where they compute.
        count: How many, if it is to be another number.

    Attributes:
        count: Pieces worked on at a time.
        local: For whatever a thread wants to keep from piece to piece.
    """

    def __init__(self, device: torch.device, count: int | None = None) -> None:
        self.count = count or (torch.get_num_threads() if device.type == "cpu" else 1)
        self.local = threading.local()
        # First: a thread takes the heap of the one that ended last, and the small one is to stay small.
        self._aside = self._start(1) if self.count > 1 else None
        self._pool = self._start(self.count) if self.count > 1 else None

    def _start(self, count: int) -> ThreadPoolExecutor:
        ready = threading.Barrier(count + 1)

        def begin() -> None:
            torch.get_num_threads()  # A thread takes the process-wide number at its first use of torch: before this.
            torch.set_num_threads(1)
            if self.count >= MANY_THREADS:
                one_of_many()
            ready.wait()

        pool = ThreadPoolExecutor(count, "genoconv", begin)
        for _ in range(count):
            pool.submit(int)
        ready.wait()
        # The calls above also changed the process-wide number.
        torch.set_num_threads(self.count)
        return pool

    def each(self, work: Callable[[Item], object], items: Iterable[Item]) -> None:
        """Calls work(item) for all items, without gradients, in any order; returns when all are done.

        Raises:
            BaseException: Whatever a failing call raised; pieces that were not begun are left undone.
        """
        inference = torch.is_inference_mode_enabled()
        waiting = deque(items)

        def work_off() -> None:
            with torch.inference_mode(inference), torch.no_grad():
                while True:
                    try:
                        item = waiting.popleft()
                    except IndexError:
                        return
                    work(item)

        if self._pool is None:
            work_off()
            return
        # A call for each thread, not for each piece: at the end of a call the caller wakes up, and is in the way.
        calls = list[Future[None]]()
        try:
            calls += [self._pool.submit(work_off) for _ in range(min(self.count, len(waiting)))]
            wait(calls, return_when=FIRST_EXCEPTION)
        finally:
            waiting.clear()
        for call in calls:
            call.result()

    def aside(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Has a thread of one core beside the others call work(), without gradients; the same one every time.

        Returns:
            What waits for the result, and raises what the call raised.
        """
        inference = torch.is_inference_mode_enabled()

        def call() -> Result:
            with torch.inference_mode(inference), torch.no_grad():
                return work()

        if self._aside is None:
            found = call()
            return lambda: found
        return self._aside.submit(call).result

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._pool, self._aside):
            if pool is not None:
                pool.shutdown(cancel_futures=True)
