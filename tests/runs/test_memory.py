"""What a run may take is divided so that its parts together keep within the limit."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from genoconv.model import graphs
from genoconv.model.config import HyenaConfig
from genoconv.model.spectra import ALL, spectra_bytes
from genoconv.runs import estimate
from genoconv.runs.memory import Demand, recordings_budget, spectra_budget

LARGE = HyenaConfig(d_model=256, n_layer=8, d_inner=1024, l_max=1_000_002)
GPU = Demand(LARGE, torch.device("cuda"), "half", ALL)


@pytest.mark.parametrize("limit", [1 << 28, 1 << 30, 3 << 30, 8 << 30, 100 << 30])
@pytest.mark.parametrize("bases", [65_536, 1 << 20])
def test_recordings_take_no_room_from_the_spectra_of_a_run(bases: int, limit: int) -> None:
    recordings = recordings_budget(GPU, bases, 1024, limit)
    spectra = spectra_budget(GPU, bases, 1024, limit) - recordings
    needed = spectra_bytes(LARGE, 1024, ALL, GPU.device, torch.float16)
    assert 0 <= recordings <= graphs.BUDGET
    assert recordings + max(spectra, 0) + GPU.peak(bases, 1024) <= limit or recordings == 0
    assert spectra >= needed or recordings == 0


def test_where_memory_is_plenty_recordings_have_their_budget() -> None:
    assert recordings_budget(GPU, 1 << 20, 1024, 100 << 30) == graphs.BUDGET
    assert recordings_budget(Demand(LARGE, torch.device("cuda"), "high", ALL), 1 << 20, 1024, 100 << 30) == 0
    assert recordings_budget(Demand(LARGE, torch.device("cpu"), "half", ALL), 1 << 20, 1024, 100 << 30) == 0


@pytest.mark.parametrize(
    ("rows", "length", "measured"),
    [
        (64, 1024, 0.257),
        (4, 32_768, 0.720),
        (1, 160_000, 2.730),
        (1, 450_000, 6.453),
        (1, 1_000_000, 12.499),
        (1, 2_097_152, 22.610),
        (1, 4_194_304, 42.661),
    ],
)
def test_a_batch_takes_what_was_foreseen(rows: int, length: int, measured: float) -> None:
    """Measured in GiB on one H200, with the spectra that are made meanwhile."""
    foreseen = GPU.spectra(rows, length) + GPU.peak(rows * length, length, held=True)
    assert foreseen / 2**30 == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(
    ("threads", "rows", "length", "measured"),
    [
        (1, 8, 1024, 47),
        (2, 8, 1024, 61),
        (2, 8, 1024, 72),
        (4, 8, 1024, 81),
        (8, 8, 1024, 102),
        (16, 8, 1024, 130),
        (2, 2, 4096, 69),
        (2, 2, 4096, 80),
        (1, 1, 32_768, 134),
        (2, 1, 32_768, 159),
        (4, 1, 32_768, 194),
        (8, 1, 32_768, 234),
        (2, 1, 80_000, 309),
        (2, 1, 160_000, 594),
    ],
)
def test_a_cpu_takes_what_was_foreseen(
    threads: int, rows: int, length: int, measured: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured in MiB on two cores, the least and the most of several runs where they differ by more than a tenth."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    demand = Demand(LARGE, torch.device("cpu"), "high", ALL)
    assert demand.peak(rows * length, length) / 2**20 == pytest.approx(measured, rel=0.15)


def test_a_run_keeps_the_spectra_of_all_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = SimpleNamespace(demand=GPU, model=None)
    batches = [(1, 1_000_000), (1, 990_000), (4, 250_000)]
    budget = 1 << 40
    monkeypatch.setattr(estimate, "filter_bank", lambda _: SimpleNamespace(budget=budget))
    first, both = GPU.spectra(1, 1_000_000), GPU.spectra(1, 1_000_000) + GPU.spectra(4, 250_000)
    assert estimate.expected_memory(engine, batches[:2]) == first + GPU.peak(1_000_000, 1_000_000, held=True)
    assert estimate.expected_memory(engine, batches[::-1]) == both + GPU.peak(1_000_000, 1_000_000, held=True)
    budget = first - 1
    few = estimate.expected_memory(engine, batches[:2])
    assert few == GPU.peak(1_000_000, 1_000_000)


def test_units_are_computed_in_batches_that_fit() -> None:
    lengths = np.array([100, 90, 80, 70, 10])
    plan = [np.array([0, 1, 2, 3]), np.array([0, 1, 2, 3]), np.array([4])]
    assert estimate.shapes(lengths, plan, 1000) == [(4, 100), (1, 10)]
    assert estimate.shapes(lengths, plan, 250) == [(2, 100), (1, 10)]
    assert estimate.shapes(lengths, plan, 50) == [(1, 100), (1, 10)]
