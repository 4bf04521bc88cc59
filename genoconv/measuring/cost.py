"""A way to compute -> its times and the memory that it takes."""

import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

from genoconv.errors import EnvironmentProblem
from genoconv.kernels.benchmark import events

Case = TypeVar("Case")
Result = TypeVar("Result")

FEWEST_RUNS, MOST_RUNS = 2, 9
ENOUGH_SECONDS = 20.0
"""Runs after the first one: as many as take so long, within the limits above."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a way to compute takes.

    Attributes:
        first_ms: Milliseconds of the first run.
        ms: Of a later one: the median.
        cpu_ms: CPU time of all threads in a later run; 0 on a GPU.
        memory: Bytes added at the peak of all runs. On a CPU: by the process.
        later: Bytes that a later run adds to what is kept between runs; on a CPU not known, 0.
    """

    first_ms: float
    ms: float
    cpu_ms: float
    memory: int
    later: int


def cost(run: Callable[[], object], device: torch.device) -> Cost:
    """Runs it a few times. On a CPU a process of its own knows its memory best: see `alone`."""
    peak = Peak(device)
    first, _ = _timed(run, device)
    memory = peak.added()
    again = Peak(device)
    times = [_timed(run, device) for _ in range(_runs_after(first / 1e3))]
    later = again.added() if device.type == "cuda" else 0
    memory = max(memory, again.before - peak.before + later) if device.type == "cuda" else peak.added()
    return Cost(first, median(ms for ms, _ in times), median(cpu for _, cpu in times), memory, later)


def _runs_after(seconds: float) -> int:
    return max(FEWEST_RUNS, min(MOST_RUNS, int(ENOUGH_SECONDS / max(seconds, 1e-3))))


def _timed(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Milliseconds of one run, with the gaps between its kernels, and CPU time where that counts."""
    if device.type == "cuda":
        return events(run, device), 0.0
    start, start_cpu = time.perf_counter(), time.process_time()
    run()
    return (time.perf_counter() - start) * 1e3, (time.process_time() - start_cpu) * 1e3


class Peak:
    """The memory that is taken from now on beside what there is: by tensors on a GPU, by the process on a CPU.

    Attributes:
        before: Bytes that were taken already.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
            return
        with suppress(OSError):  # not Linux, or not allowed: then the peak is that of the process so far
            Path("/proc/self/clear_refs").write_text("5")
        try:
            self.before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        except OSError:
            self.before = _largest()

    def added(self) -> int:
        """Bytes at the peak since then."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return torch.cuda.max_memory_allocated(self._device) - self.before
        return max(0, _largest() - self.before)


def _largest() -> int:
    """Bytes of memory that this process has held at most."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)


def alone(work: Callable[[Case], Result], case: Case, device: torch.device) -> Result:
    """`work(case)`; on a CPU in a process of its own, so that its peak memory is its own.

    Raises:
        EnvironmentProblem: The process died, most likely for want of memory.
    """
    if device.type != "cpu":
        return work(case)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(work, case).result()
        except BrokenProcessPool:
            raise EnvironmentProblem("the process that computed was killed", fix="memory may have run out") from None
