"""Units of work and their commits: what a kill at any moment would lose."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genoconv.inputs.fasta import Record
from genoconv.outputs import part_files
from genoconv.outputs.part_files import PartWriter
from genoconv.runs import compute
from genoconv.runs.transfers import Batch

INTERVAL = 60.0


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 1000), min_size=1, max_size=40),
    seconds_per_base=st.floats(1e-4, INTERVAL / 1000),
)
def test_a_kill_never_loses_more_than_one_interval_of_work(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    lengths: list[int],
    seconds_per_base: float,
) -> None:
    clock, begun, lost = Clock(), list[float](), list[float]()
    commit = PartWriter.commit

    def embed_batch(engine: Any, batch: Batch, parts: PartWriter) -> list[Any]:
        begun.append(clock.now)
        clock.now += batch.bases * seconds_per_base
        lost.append(clock.now - begun[0])  # to a kill just before these rows are taken
        parts.add(batch.rows, {("mean", 0): np.zeros((1, 1), np.float32)})
        return []

    def committing(parts: PartWriter) -> None:
        commit(parts)
        begun.clear()

    for module in (part_files, compute):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(compute, "embed_batch", embed_batch)
    monkeypatch.setattr(PartWriter, "commit", committing)
    folder: Path = tmp_path_factory.mktemp("parts")
    parts = PartWriter(folder, worker=0, about={}, interval=INTERVAL)
    engine: Any = SimpleNamespace(settings=SimpleNamespace(fail_fast=False))
    batches = [
        Batch(
            np.array([row]), [Record("r", "", bytes(length), "r.fa", 1, {}, 0)], [length], torch.empty(1, length), None
        )
        for row, length in enumerate(lengths)
    ]
    assert sum(done.rows for done in compute.work(engine, batches, parts)) == len(lengths)
    assert max(lost) <= INTERVAL + 1e-6
    assert begun == []
    # Nor is there a file for every record, where records are short.
    assert len(list(folder.iterdir())) <= 1 + 2 * sum(lengths) * seconds_per_base / INTERVAL
