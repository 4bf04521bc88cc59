"""Times and memory of a way to compute."""

import os
import signal
from typing import Any

import pytest
import torch

from genoconv.errors import EnvironmentProblem
from genoconv.measuring import cost as module
from genoconv.measuring.cost import MOST_RUNS, Cost, alone, cost

CPU = torch.device("cpu")


def fill(megabytes: int) -> Cost:
    return cost(lambda: torch.ones(megabytes << 18), CPU)


def die(_: None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")  # noqa: PTH110
def test_a_process_of_its_own_knows_its_memory() -> None:
    taken = alone(fill, 64, CPU)
    assert 64 << 20 <= taken.memory < 90 << 20
    assert taken.ms > 0
    assert taken.cpu_ms > 0
    assert taken.later == 0


def test_a_process_that_was_killed_is_an_error() -> None:
    with pytest.raises(EnvironmentProblem, match="killed"):
        alone(die, None, CPU)


def test_on_a_gpu_the_first_run_and_later_ones_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a GPU on which the first run takes 3 and keeps 1, and each later run takes 3 beside it."""
    runs: list[int] = []
    state = {"now": 100, "peak": 100}

    def run() -> None:
        runs.append(1)
        state["peak"] = max(state["peak"], state["now"] + 3)
        state["now"] = 101

    def events(work: Any, device: torch.device) -> float:
        work()
        return 50.0 if len(runs) == 1 else float(len(runs))

    monkeypatch.setattr(module, "events", events)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: state["now"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: state["peak"])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: state.update(peak=state["now"]))
    found = cost(run, torch.device("cuda", 0))
    assert len(runs) == 1 + MOST_RUNS
    assert found == Cost(first_ms=50.0, ms=6.0, cpu_ms=0.0, memory=4, later=3)
