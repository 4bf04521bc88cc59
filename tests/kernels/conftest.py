"""Memory that nobody has written yet is NaN in the tests of the kernels: what is read too early, or left out, shows."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """With deterministic algorithms on, torch fills what it allocates."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
