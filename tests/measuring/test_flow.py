"""Whole runs: batches as they are computed, and a row for shipped DNA."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genoconv.embed import prepare
from genoconv.measuring import flow as module
from genoconv.measuring.flow import batches, measure_flow
from genoconv.runs.job import EmbedSettings

TINY = Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"
SETTINGS = EmbedSettings(model=str(TINY), device="cpu", threads=len(os.sched_getaffinity(0)))


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "few.fa"
    path.write_text("".join(f">r{i}\n{'ACGTTGCA' * (4 + i)}\n" for i in range(9)))
    return path


def test_batches_are_halved_until_they_fit(fasta: Path) -> None:
    def sizes(batch_bases: int) -> list[int]:
        job = prepare([fasta], SETTINGS)
        job.engine.batch_bases = batch_bases
        found = [[len(record) for record in batch] for batch in batches(job)]
        assert sorted(length for batch in found for length in batch) == [8 * (4 + i) for i in range(9)]
        assert all(len(batch) == 1 or len(batch) * max(batch) <= batch_bases for batch in found)
        return [len(batch) for batch in found]

    assert len(sizes(10_000)) < len(sizes(200)) < len(sizes(1)) == 9


def test_a_run_beside_its_model(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(work: Callable[[Any], Any], case: Any, device: torch.device) -> Any:
        return work(case)

    monkeypatch.setattr(module, "alone", call)
    row = measure_flow([str(fasta)], SETTINGS, model=str(TINY))
    assert (row.records, row.bases, row.longest, row.precision) == (9, 576, 96, "high")
    assert row.share_of_model == pytest.approx(row.bases_per_s / row.model_bases_per_s)
    assert row.bases_per_s == pytest.approx(576 / (row.read_s + row.run_s))
    assert 0 <= row.padding < 0.5
    assert list(fasta.parent.iterdir()) == [fasta]
