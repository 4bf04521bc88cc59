"""The device that launches go to (Triton takes the current one, wherever its operands are), and what it has."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Makes the GPU that holds x the current one; does nothing on a CPU."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def shared_memory(device: torch.device) -> int:
    """Bytes of shared memory that one program may have; without a GPU, more than an H100 has."""
    if device.type != "cuda":
        return 1 << 18
    return int(getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 0))
