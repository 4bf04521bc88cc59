"""The device that launches go to: Triton takes the current one, wherever its operands are."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Makes the GPU that holds x the current one; does nothing on a CPU."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
