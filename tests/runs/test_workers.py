"""Processes that compute: they wait for their errand, and end when there is none."""

import os
import signal
import time
from collections.abc import Iterator
from multiprocessing import Pipe, active_children
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch

from genoconv.errors import GenoconvError, Interrupted
from genoconv.inputs.fasta import Records
from genoconv.outputs.part_files import Part
from genoconv.runs import compute
from genoconv.runs import workers as module
from genoconv.runs.engines import make_engine
from genoconv.runs.job import EmbedSettings, Engine
from genoconv.runs.transfers import Unit
from genoconv.runs.workers import Errand, Team, rehearse, wait_for_workers

MODEL = Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"


def workers() -> list[BaseProcess]:
    """The workers of this process that are alive."""
    return [process for process in active_children() if process.name.startswith("genoconv-")]


def test_workers_without_an_errand_end_when_nobody_holds_them() -> None:
    team = Team([torch.device("cpu")] * 2, EmbedSettings(threads=2), MODEL)
    assert len(workers()) == 2
    del team
    end = time.monotonic() + 120
    while workers():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_what_is_done_with_records_is_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    done = list[str]()

    def noted(name: str) -> None:
        true = getattr(compute, name)

        def noting(*arguments: Any, **options: Any) -> Any:
            done.append(name)
            return true(*arguments, **options)

        monkeypatch.setattr(compute, name, noting)

    for name in ("pool_states", "pool_site", "add_tokens", "on_host"):
        noted(name)
    settings = EmbedSettings(poolings=("mean", "max", "last", "site"), site=10**6, tokens=True, dtype="f2")
    rehearse(make_engine(settings, MODEL, torch.device("cpu"), longest=1))
    assert done == ["pool_site", *["pool_states"] * 3, "pool_site", "add_tokens", "on_host"]


def test_ctrl_c_at_a_worker_that_is_just_starting_interrupts_the_run(tmp_path: Path) -> None:
    team = Team([torch.device("cpu")], EmbedSettings(threads=1), MODEL)
    (started,) = workers()
    assert started.pid is not None
    os.kill(started.pid, signal.SIGINT)
    try:
        with pytest.raises(Interrupted, match="SIGINT"):
            list(team.work(Errand(1, tmp_path, "high"), iter(())))
    finally:
        team.dismiss()
    assert not workers()


def test_a_worker_that_waits_for_a_unit_ends_when_it_is_told_to(tmp_path: Path) -> None:
    record = Records(["r"], [b"ACGT"])
    team = Team([torch.device("cpu")], EmbedSettings(threads=1), MODEL)
    (worker,) = workers()
    ended: list[bool] = []

    def units() -> Iterator[Unit]:
        yield np.array([0]), record
        yield np.array([1]), record
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGTERM)
        worker.join(60)
        ended.append(not worker.is_alive())

    try:
        with pytest.raises(GenoconvError):
            list(team.work(Errand(4, tmp_path, "high"), units()))
    finally:
        team.dismiss()
    assert ended == [True]


class Threads(Team):
    """A team whose workers are threads of this process."""

    def __init__(self) -> None:
        self._members = {}
        self._told_all = set()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 25])
def test_workers_that_launch_ahead_do_not_wait_for_units_that_nobody_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(compute, "runs_ahead", lambda engine: True)
    team, device = Threads(), torch.device("cpu")

    def serve(pipe: Connection, engine: Engine, number: int) -> None:
        module._serve(pipe, engine, module._received(pipe), number)
        pipe.send(module.COMMITTED)

    for number in range(2):
        ours, theirs = Pipe()
        engine = make_engine(EmbedSettings(threads=1), MODEL, device, longest=64)
        thread: Any = Thread(target=serve, args=(theirs, engine, number), daemon=True)
        thread.start()
        team._members[ours] = thread, device
    rows = range(count)
    records = Records([f"r{row}" for row in rows], [b"ACGT" * (1 + row % 16) for row in rows])
    units = ((np.array([row]), records[row : row + 1]) for row in rows)
    assert sum(done.rows for done in team.work(Errand(64, tmp_path, "high"), units)) == count
    wait_for_workers()
    assert sum(len(Part.open(path).rows) for path in tmp_path.glob("part-*.npz")) == count
