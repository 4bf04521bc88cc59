"""Which backend computes: the names, what each of them can do, and which one "auto" means."""

import os
from importlib.util import find_spec
from typing import Literal

import torch

from genoconv.kernels.monarch.plan import LONGEST

BACKENDS = ("torch", "triton")
HALF = (torch.float16, torch.bfloat16)
# What the Triton kernels read and write.
TRITON_DTYPES = (*HALF, torch.float32)
Precision = Literal["auto", "half", "float32"]
# Where the exact kernels are taken: signals that fit in a block, and filters not much shorter than the signals (1.7 to
# 2.9 times faster than torch where they are as long, H200). For shorter ones torch cuts signals into pieces, and so
# transforms less; that was not measured.
_ONE_BLOCK, _LONG_FILTER = 4096, 0.25


def backend_for(device: torch.device | str, dtype: torch.dtype) -> str:
    """The backend that "auto" means for signals of a dtype on a device: a name to announce and to record."""
    return choose("auto", torch.device(device), dtype)


def is_exact(dtype: torch.dtype, precision: Precision = "auto") -> bool:
    """Whether signals of a dtype are to be computed with float32's accuracy, and not in float16.

    Raises:
        ValueError: There is no such precision.
    """
    if precision not in ("auto", "half", "float32"):
        raise ValueError(f"no precision {precision!r}; there are: auto, half, float32")
    return precision == "float32" or (precision == "auto" and dtype not in HALF)


def choose(
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    length: int = 1,
    *,
    taps: int | None = None,
    precision: Precision = "auto",
) -> str:
    """The name of the backend to use for signals of a dtype and length (in samples) on a device.

    Args:
        backend: "auto" or one of `BACKENDS`.
        device: Where the signals are.
        dtype: Of the signals.
        length: Of the signals, in samples.
        taps: Of the filters; None if as many as samples.
        precision: Of the computation, "auto" for that of the signals.

    Raises:
        ValueError: There is no such backend or precision, or it cannot do this.
    """
    exact = is_exact(dtype, precision)
    if backend == "torch":
        return backend
    if backend not in ("auto", *BACKENDS):
        raise ValueError(f"no backend {backend!r}; there are: auto, {', '.join(BACKENDS)}")
    obstacle = triton_obstacle(device, dtype, length)
    if backend == "auto":
        short_filter = taps is not None and length > _ONE_BLOCK and taps < _LONG_FILTER * length
        return "torch" if obstacle or device.type != "cuda" or (exact and short_filter) else "triton"
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
        return "" if interpreted() else f"needs a CUDA device, not {device}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"needs compute capability 8.0, which {torch.cuda.get_device_name(device)} has not"
    return ""


def interpreted() -> bool:
    """Whether the Triton kernels are run by Triton's interpreter, on the CPU: for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"
