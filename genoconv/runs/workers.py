"""Units of work -> one process per device, each taking the next unit when it is free -> parts."""

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from genoconv.errors import EnvironmentProblem, GenoconvError
from genoconv.outputs.part_files import PartWriter
from genoconv.runs.compute import Done, Unit, make_engine, work
from genoconv.runs.devices import usable_cores, use_threads
from genoconv.runs.job import EmbedSettings
from genoconv.runs.provenance import computes
from genoconv.runs.signals import stop_on_signals

PATIENCE_SECONDS = 20.0
"""What a worker has to commit its rows when the run is interrupted; Slurm kills after 30."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What a worker has to know; it loads the model by itself.

    Attributes:
        settings: What is asked for.
        model: Folder or file of the model.
        longest: Bases of the longest record.
        folder: Where its parts go.
    """

    settings: EmbedSettings
    model: Path
    longest: int
    folder: Path


def work_on_all(errand: Errand, devices: Sequence[torch.device], units: Iterator[Unit]) -> Generator[Done]:
    """Compute units on several devices, one process each; a free one takes the next unit, so that none idles.

    Yields:
        What became of each unit, in the order in which they end.

    Raises:
        GenoconvError: What stopped a worker stops the run; what is done is committed.
        EnvironmentProblem: A worker died.
        Interrupted: The run, or a worker of it, got a signal.
    """
    team = Team(errand, devices)
    try:
        yield from team.work(units)
    finally:
        team.dismiss()


class Team:
    """The workers of one run: each with a process, a pipe, and at most one unit."""

    def __init__(self, errand: Errand, devices: Sequence[torch.device]) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self._members: dict[Connection, tuple[BaseProcess, torch.device]] = {}
        threads = max(1, (errand.settings.threads or usable_cores()) // len(devices))
        for number, device in enumerate(devices):
            ours, theirs = context.Pipe()
            arguments = (theirs, errand, number, str(device), threads)
            process = context.Process(target=serve, args=arguments, name=f"genoconv-{number}", daemon=True)
            process.start()
            theirs.close()
            self._members[ours] = (process, device)

    def work(self, units: Iterator[Unit]) -> Generator[Done]:
        """Hand out the units, and yield what became of them, until all are done and all workers have committed."""
        while self._members:
            for pipe in wait(list(self._members)):
                assert isinstance(pipe, Connection)
                answer = self._hear(pipe)
                if isinstance(answer, BaseException):
                    raise answer
                if isinstance(answer, Done):
                    yield answer
                if answer == COMMITTED:
                    process, _ = self._members.pop(pipe)
                    process.join()
                else:
                    self._tell(pipe, next(units, None))

    def dismiss(self) -> None:
        """End workers that still run; each commits what it has done. Nothing to do after a good end."""
        for process, _ in self._members.values():
            process.terminate()
        for process, _ in self._members.values():
            process.join(PATIENCE_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
        self._members = {}

    def _hear(self, pipe: Connection) -> Any:
        try:
            return pipe.recv()
        except (EOFError, OSError):
            return self._death(pipe)

    def _tell(self, pipe: Connection, unit: Unit | None) -> None:
        try:
            pipe.send(unit)
        except OSError:
            raise self._death(pipe) from None

    def _death(self, pipe: Connection) -> GenoconvError:
        process, device = self._members[pipe]
        process.join(PATIENCE_SECONDS)
        code = process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return EnvironmentProblem(
            f"the process that computed on {device} died ({how})",
            fix="start the same command again; it goes on where it stopped. SIGKILL often means that memory ran out",
        )


PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""

READY = "ready"
COMMITTED = "committed"


def serve(pipe: Connection, errand: Errand, number: int, device: str, threads: int) -> None:
    """What a worker does: load the model, then compute unit after unit until there are no more, or no one asks.

    It answers `READY`, a `Done` for each unit, then `COMMITTED`; or the error that stopped it.
    """
    answer: Any = COMMITTED
    die_with_parent()
    try:
        with stop_on_signals():
            use_threads(threads)
            engine = make_engine(errand.settings, errand.model, torch.device(device), errand.longest)
            parts = PartWriter(
                errand.folder, worker=number, about=computes(engine), interval=errand.settings.commit_every
            )
            pipe.send(READY)
            for done in work(engine, _received(pipe), parts):
                pipe.send(done)
    except BaseException as error:
        answer = error
    with suppress(OSError):  # the parent is gone
        pipe.send(answer if isinstance(answer, GenoconvError | str) else EnvironmentProblem(_words(answer)))
    pipe.close()


def die_with_parent() -> None:
    """Let Linux kill this process when its parent is killed: the next start of the run needs the device."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _received(pipe: Connection) -> Iterator[Unit]:
    """Units, as the parent sends them; none any more when it is gone."""
    while True:
        try:
            unit = pipe.recv()
        except (EOFError, OSError):
            return
        if unit is None:
            return
        yield unit


def _words(error: BaseException) -> str:
    return f"a worker failed: {type(error).__name__}: {error}"
