"""What all tests of the kernels share: Triton's interpreter where there is no GPU, and memory full of NaN.

Memory that nobody has written yet is NaN: what is read too early, or left out, shows.
"""

import os
from collections.abc import Iterator

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read once, when Triton is imported


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """With deterministic algorithms on, torch fills what it allocates."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
