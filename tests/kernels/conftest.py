"""What all tests of the kernels share: Triton's interpreter where there is no GPU, and memory full of NaN.

Memory that nobody has written yet is NaN: what is read too early, or left out, shows.
"""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from genoconv.kernels.monarch.ways import NARROW, UNGATED, WIDE

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read once, when Triton is imported


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """With deterministic algorithms on, torch fills what it allocates."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def wide_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide column tiles make the interpreter, which walks through all programs, several times faster."""
    if not torch.cuda.is_available():
        for ways in (table[kind] for table in (WIDE, UNGATED, NARROW) for kind in table if "pair" not in kind):
            for height, way in ways.items():
                monkeypatch.setitem(ways, height, replace(way, columns=512))
