"""Units of work -> one process per device, each taking the next unit when it is free -> parts."""

import ctypes
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genoconv.errors import EnvironmentProblem, GenoconvError
from genoconv.inputs.fasta import Records
from genoconv.model.inference import Precision
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.part_files import Key
from genoconv.outputs.parts import part_writer
from genoconv.outputs.pooling import SITE
from genoconv.runs.compute import Done, compute_batch, work
from genoconv.runs.devices import bound_heaps, usable_cores, use_threads
from genoconv.runs.engines import make_engine, prepare_for
from genoconv.runs.job import EmbedSettings, Engine
from genoconv.runs.provenance import computes
from genoconv.runs.sharing import Share
from genoconv.runs.signals import stop_on_signals
from genoconv.runs.transfers import Unit, batches, make_batch

PATIENCE_SECONDS = 20.0
"""What a worker has to commit its rows when the run is interrupted; Slurm kills after 30."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What a worker has to know before it computes.

    Attributes:
        longest: Bases of the longest record.
        folder: Where its parts go.
        precision: How all of them compute: `high` or `half`.
    """

    longest: int
    folder: Path
    precision: Precision


def work_on_all(team: "Team", errand: Errand, units: Iterator[Unit]) -> Generator[Done]:
    """Compute units on several devices, one process each; a free one takes the next unit, so that none idles.

    Yields:
        What became of each unit, in the order in which they end.

    Raises:
        GenoconvError: What stopped a worker stops the run; what is done is committed.
        EnvironmentProblem: A worker died.
        Interrupted: The run, or a worker of it, got a signal.
    """
    try:
        yield from team.work(errand, units)
    finally:
        team.dismiss()


class Team:
    """The workers of one run: each with a process, a pipe, and at most two units, one to compute and one to make ready.

    Their processes start at once, and load the model: with PyTorch and a GPU that takes ten seconds, in which the input
    is read. Workers that nobody gives an errand end when the team is no more.

    Args:
        devices: Where to compute, one worker each.
        settings: What is asked for.
        model: Folder or file of the model.
    """

    def __init__(self, devices: Sequence[torch.device], settings: EmbedSettings, model: Path) -> None:
        wait_for_workers()
        threads = max(1, (settings.threads or usable_cores()) // len(devices))
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self._members: dict[Connection, tuple[BaseProcess, torch.device]] = {}
        self._told_all: set[Connection] = set()
        for number, device in enumerate(devices):
            ours, theirs = context.Pipe()
            arguments = (theirs, settings, model, number, str(device), threads)
            process = context.Process(target=serve, args=arguments, name=f"genoconv-{number}", daemon=True)
            with _no_ctrl_c():
                process.start()
            theirs.close()
            self._members[ours] = (process, device)

    def work(self, errand: Errand, units: Iterator[Unit]) -> Generator[Done]:
        """Hand out the units, and yield what became of them, until all are done and all workers have committed."""
        for member in self._members:
            self._tell(member, errand)
        share = Share(units)  # always some in hand, so that nobody waits for the input to be read
        while self._members:
            for pipe in wait(list(self._members)):
                assert isinstance(pipe, Connection)
                answer = self._hear(pipe)
                if isinstance(answer, BaseException):
                    raise answer
                if isinstance(answer, Done):
                    yield answer
                if answer == COMMITTED:
                    _LEAVING.append(self._members.pop(pipe)[0])  # which takes a second, in which the others go on
                    continue
                for _ in range(2 if answer == READY else 1):
                    if pipe not in self._told_all:
                        self._tell(pipe, share.take(pipe))
                        share.refill()

    def dismiss(self) -> None:
        """End workers that have not committed; each commits what it has done. Nothing to do after a good end."""
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

    def _tell(self, pipe: Connection, what: Errand | Unit | None) -> None:
        """Send a worker something; None is the last thing that it waits for."""
        if what is None:
            self._told_all.add(pipe)
        try:
            pipe.send(what)
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


_LEAVING: list[BaseProcess] = []
"""Workers that have committed all: they give their GPU back, and end."""


def wait_for_workers() -> None:
    """Waits until the workers of earlier runs are gone, and their memory is free."""
    while _LEAVING:
        _LEAVING.pop().join(PATIENCE_SECONDS)


WARM_UP_BASES = 4096
"""What is embedded before the first record, to load what is loaded at first use."""

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""

POLL_SECONDS = 0.1
"""How long a worker that stops may go on waiting for a unit."""

READY = "ready"
COMMITTED = "committed"


def serve(pipe: Connection, settings: EmbedSettings, model: Path, number: int, device: str, threads: int) -> None:
    """What a worker does: load the model, then compute unit after unit until there are no more, or no one asks.

    It answers `READY`, a `Done` for each unit, then `COMMITTED`; or the error that stopped it.
    """
    answer: Any = COMMITTED
    die_with_parent()
    try:
        with stop_on_signals(for_good=True):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            use_threads(threads)
            engine = make_engine(settings, model, torch.device(device), longest=1)
            warm_up(engine)
            errand = _received(pipe)
            if errand is None:
                return
            _serve(pipe, engine, errand, number)
    except BaseException as error:
        answer = error
    with suppress(OSError):  # the parent is gone
        pipe.send(answer if isinstance(answer, GenoconvError | str) else EnvironmentProblem(_words(answer)))
    pipe.close()


def _serve(pipe: Connection, engine: Engine, errand: Errand, number: int) -> None:
    bound_heaps(engine.device, errand.longest)
    prepare_for(engine, errand.longest, errand.precision)
    interval, tokens = engine.settings.commit_every, engine.settings.tokens
    parts = part_writer(errand.folder, worker=number, about=computes(engine), interval=interval, tokens=tokens)
    pipe.send(READY)
    stopped = threading.Event()
    units = iter(lambda: _received(pipe, stopped), None)
    coming = batches(units, engine.device, both_strands=SITE in engine.settings.poolings)
    with parts:
        try:
            for done in work(engine, coming, parts, ahead=1):  # of the two units that a worker has
                pipe.send(done)
        finally:
            stopped.set()  # before `coming` goes, which waits for the unit that is being received


def warm_up(engine: Engine) -> None:
    """Let a GPU do all that is done with records, whose libraries are loaded when they are first used."""
    if engine.device.type == "cuda":
        rehearse(engine)


def rehearse(engine: Engine) -> None:
    """Embed two records of no meaning, all the way to rows."""
    any_site = replace(engine, settings=replace(engine.settings, site=None))
    records = Records(["", ""], [b"A" * (WARM_UP_BASES // 2 - less) for less in (0, 1)])
    both = SITE in engine.settings.poolings
    compute_batch(any_site, make_batch(np.arange(2), records, engine.device, both_strands=both), _Nowhere(), set())


class _Nowhere:
    """Takes what has been computed, and forgets it."""

    def add(self, rows: Array, matrices: Mapping[Key, Array]) -> None:
        """As `PartWriter.add`."""

    def add_tokens(self, rows: Sequence[int], start: int, states: Callable[[], Array]) -> None:
        """As `PartWriter.add_tokens`: waits for the numbers."""
        states()


def die_with_parent() -> None:
    """Let Linux kill this process when its parent is killed: the next start of the run needs the device."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _received(pipe: Connection, stopped: threading.Event | None = None) -> Any:
    """What the parent sends; None when it is gone, or nobody waits for it any more."""
    try:
        while stopped is not None and not pipe.poll(POLL_SECONDS):
            if stopped.is_set():
                return None
        return pipe.recv()
    except (EOFError, OSError):
        return None


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Ctrl-C, which goes to all processes of a terminal, does not meet the ones started here before they are ready."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _words(error: BaseException) -> str:
    return f"a worker failed: {type(error).__name__}: {error}"
