"""Frequency-sparse convolutions: signals are decimated, convolved as low samples, and interpolated again."""

import torch
import triton
from torch import Tensor

from genoconv.kernels import sparsity
from genoconv.kernels.monarch import launch
from genoconv.kernels.monarch.plan import PLANE_BYTES, Plan
from genoconv.kernels.monarch.resample_kernels import decimate_kernel, interpolate_kernel
from genoconv.kernels.sparsity import Band

# Windows of one program, and samples of each that it interpolates. Decimation took 1.22 to 1.31 ps a sample (64
# windows, three steps ahead), 1.21 to 1.27 with 128, 1.71 with 32; a copy of as many bytes takes 1.1. Interpolation
# took 2.02 to 2.10 by programs for 64 samples of 64 windows each, which read the low samples in reach only; 2.62 where
# what they read and write leaves the cache first; 2.14 to 2.28 by programs that go through eight tiles with the matrix
# in shared memory; 2.40 to 2.57 by programs for all samples of 32 windows; a copy takes 2.05. (H200, keep 0.25, gated
# float16, 65,536 to 4,194,304 samples.)
_DECIMATED, _INTERPOLATED, _COLUMNS = 64, 64, 64


def convolve(
    u: Tensor,
    band: Band,
    plan: Plan,
    taps: int,
    data: Tensor,
    scale: Tensor,
    skip: Tensor | None,
    in_gate: Tensor | None,
    out_gate: Tensor | None,
    out: Tensor,
) -> None:
    """As `launch.convolve`, for filters that hold a band only; plan, taps, data and scale are those of low samples."""
    y = out if out.stride(-1) == 1 else torch.empty(u.shape, dtype=out.dtype, device=u.device)
    x = launch.Operands(u, in_gate, out_gate, y, skip)
    B, H, L = u.shape
    samples = band.low_samples(L)
    group = max(1, min(H, PLANE_BYTES // (B * samples * 4)))
    room = torch.empty(B * group * samples, dtype=torch.float16, device=u.device)
    for first in range(0, H, group):
        at = slice(first, min(first + group, H))
        low = room[: B * (at.stop - first) * samples].view(B, at.stop - first, samples)
        _decimate(x, band, first, low)
        launch.convolve(low, plan, taps, data[at], scale[at], None, None, None, low)
        _interpolate(x, band, first, low)
    if y is not out:
        out.copy_(y)


def _decimate(x: launch.Operands, band: Band, first: int, low: Tensor) -> None:
    B, channels, samples = low.shape
    windows = samples // sparsity.LOW
    decimate_kernel[(triton.cdiv(windows, _DECIMATED), channels, B)](
        x.u, x.in_gate, low, sparsity.decimation(band, low.device, low.dtype),
        *x.strides("u", "in_gate"), first, x.length, windows,
        W=_DECIMATED, STRIDE=band.stride, WINDOW=band.window, LEFT=band.left, LOW=sparsity.LOW,
        UNIT=x.unit, IN_GATED=x.gates["IN_GATED"], num_warps=4,
    )  # fmt: skip


def _interpolate(x: launch.Operands, band: Band, first: int, low: Tensor) -> None:
    B, channels, samples = low.shape
    tiles = triton.cdiv(triton.cdiv(x.u.shape[-1], band.stride), _INTERPOLATED)
    matrices = sparsity.interpolation(band, _COLUMNS, low.device, low.dtype)
    parts, in_reach, columns = matrices.shape
    interpolate_kernel[(tiles * parts, channels, B)](
        x.u, x.in_gate, x.out_gate, x.out, low, matrices, x.skip,
        *x.strides("u", "in_gate", "out_gate", "out"), first, x.length, samples // sparsity.LOW,
        W=_INTERPOLATED, STRIDE=band.stride, PARTS=parts, COLUMNS=columns, REACH=band.reach, IN_REACH=in_reach,
        ORIGIN=sparsity.ORIGIN, ALIGNED=sparsity.ALIGNED, LOW=sparsity.LOW, UNIT=x.unit, **x.gates, **x.skips,
        num_warps=4,
    )  # fmt: skip
