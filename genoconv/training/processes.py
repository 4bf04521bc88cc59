"""The processes that train one model together: which of them this one is, and what they tell each other."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, distributed

from genoconv.errors import EnvironmentProblem, UsageError

_PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: one of them validates, or reads the data, alone."""

_LETTING_GO = 0.3
"""Seconds before the end. Gloo's threads need the interpreter when they drop what was reduced, some time after it was;
where it has ended by then, the process aborts (3 of 40 did, on a busy machine, with PyTorch 2.13 and Python 3.11)."""


class Processes(AbstractContextManager["Processes"]):
    """A run in one process: it has nobody to wait for.

    Attributes:
        rank: The number of this process, from 0; the first one reads, writes and tells.
        count: How many there are.
    """

    rank = 0
    count = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that reads, writes and tells."""
        return self.rank == 0

    def share(self, rows: int) -> range:
        """The rows of a batch that are this process's.

        Raises:
            UsageError: There are fewer rows than processes.
        """
        if rows < self.count:
            raise UsageError(
                f"a batch has {rows} windows, too few for {self.count} processes",
                fix="give a larger --batch-bases, or start fewer processes",
            )
        return range(rows * self.rank // self.count, rows * (self.rank + 1) // self.count)

    def wait(self) -> None:
        """Go on when all have come here."""

    def total(self, number: float) -> float:
        """The sum over all processes."""
        return number

    def largest(self, number: float) -> float:
        """The largest of all processes' numbers."""
        return number

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors, alike in all processes, by their sums over all."""

    def told(self, numbers: Sequence[float]) -> list[float]:
        """The first process's numbers, in all of them; each must give as many."""
        return list(numbers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the others."""


class _Several(Processes):
    """One of several processes that torchrun started."""

    def __init__(self, rank: int, count: int, device: torch.device) -> None:
        self.rank, self.count = rank, count
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        try:
            distributed.init_process_group(backend, timeout=_PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise EnvironmentProblem(
                f"the processes do not find each other: {error}", fix="start them all with one torchrun"
            ) from error

    def __enter__(self) -> Self:
        return self

    def wait(self) -> None:
        self.total(0.0)

    def total(self, number: float) -> float:
        return self._reduced(number, distributed.ReduceOp.SUM)

    def largest(self, number: float) -> float:
        return self._reduced(number, distributed.ReduceOp.MAX)

    def _reduced(self, number: float, operation: distributed.ReduceOp.RedOpType) -> float:
        result = torch.tensor([number], dtype=torch.float64)
        distributed.all_reduce(result, operation)
        return result.item()

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        parts = list(tensors)
        together = torch.cat([part.flatten() for part in parts])
        distributed.all_reduce(together)
        place = 0
        for part in parts:
            part.copy_(together[place : place + part.numel()].view_as(part))
            place += part.numel()

    def told(self, numbers: Sequence[float]) -> list[float]:
        sums = torch.tensor(numbers if self.first else [0.0] * len(numbers), dtype=torch.float64)
        self.add_up([sums])
        return [float(number) for number in sums.tolist()]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error the others may wait for this one for ever: torchrun ends them when it sees this one end.
        if kind is None:
            self.wait()
            time.sleep(_LETTING_GO)
            distributed.destroy_process_group()


def processes_here(device: torch.device, environment: Mapping[str, str] = os.environ) -> Processes:
    """The processes that this one belongs to: those of its torchrun, or itself alone.

    Args:
        device: Where this process computes; it becomes the current one, which kernels and streams go by.
        environment: Says what torchrun started.

    Raises:
        EnvironmentProblem: The others do not answer.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    count = int(environment.get("WORLD_SIZE", "1"))
    return _Several(int(environment["RANK"]), count, device) if count > 1 else Processes()


def device_here(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The name of the device for one of several processes on a machine: of `auto` and `cuda`, a GPU of its own.

    Raises:
        UsageError: One GPU is named for several processes.
    """
    if int(environment.get("WORLD_SIZE", "1")) == 1 or name == "cpu":
        return name
    if ":" in name:
        raise UsageError(f"--device {name} is one GPU, but there are several processes", fix="use --device cuda")
    return f"cuda:{environment['LOCAL_RANK']}" if name == "cuda" or torch.cuda.is_available() else name


def threads_here(cores: int, environment: Mapping[str, str] = os.environ) -> int:
    """This process's part of so many cores."""
    return max(1, cores // int(environment.get("LOCAL_WORLD_SIZE", "1")))
