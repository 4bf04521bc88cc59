"""Which backend computes: the names, what each of them can do, and which one "auto" means."""

import os
from importlib.util import find_spec

import torch

from genoconv.kernels.monarch.plan import LONGEST

BACKENDS = ("torch", "triton")
HALF = (torch.float16, torch.bfloat16)
# What the Triton kernels read and write; they compute in float16 with float32 sums.
TRITON_DTYPES = (*HALF, torch.float32)


def backend_for(device: torch.device | str, dtype: torch.dtype) -> str:
    """The backend that "auto" means for signals of a dtype on a device: a name to announce and to record."""
    return choose("auto", torch.device(device), dtype)


def choose(backend: str, device: torch.device, dtype: torch.dtype, length: int = 1) -> str:
    """The name of the backend to use for signals of a dtype and length (in samples) on a device.

    Raises:
        ValueError: There is no such backend, or it cannot do this.
    """
    if backend == "torch":
        return backend
    if backend not in ("auto", *BACKENDS):
        raise ValueError(f"no backend {backend!r}; there are: auto, {', '.join(BACKENDS)}")
    obstacle = triton_obstacle(device, dtype, length)
    if backend == "auto":
        # float32 is not computed in float16 unless that is asked for by name.
        return "torch" if obstacle or device.type != "cuda" or dtype not in HALF else "triton"
    if obstacle:
        raise ValueError(f"the triton backend {obstacle}; use backend 'torch' or 'auto'")
    return backend


def triton_obstacle(device: torch.device, dtype: torch.dtype, length: int) -> str:
    """Why the Triton kernels cannot be used for signals of a dtype and length on a device; empty if they can."""
    if dtype not in TRITON_DTYPES:
        return f"takes float16, bfloat16 and float32, but the signals are {dtype}"
    if length > LONGEST:
        return f"takes signals of up to {LONGEST} samples, not {length}"
    if find_spec("triton") is None:
        return "needs the package triton"
    if device.type != "cuda":
        return "" if os.environ.get("TRITON_INTERPRET") == "1" else f"needs a CUDA device, not {device}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"needs compute capability 8.0, which {torch.cuda.get_device_name(device)} has not"
    return ""
