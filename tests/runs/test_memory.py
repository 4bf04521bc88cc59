"""What a run may take is divided so that its parts together keep within the limit."""

import pytest
import torch

from genoconv.model import graphs
from genoconv.model.config import HyenaConfig
from genoconv.model.spectra import ALL, spectra_bytes
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
