"""From tensors to launches of the kernels with float32's accuracy: passes or one block, tables in pairs."""

import math
from functools import lru_cache
from math import prod

import torch
import triton
from torch import Tensor

from genoconv.kernels.monarch.exact_kernels import (
    exact_blocks_kernel,
    exact_inner_kernel,
    exact_middle_kernel,
    exact_outer_kernel,
)
from genoconv.kernels.monarch.launch import Operands
from genoconv.kernels.monarch.loudness import factors_for
from genoconv.kernels.monarch.outer import portion
from genoconv.kernels.monarch.plan import Plan, tile
from genoconv.kernels.monarch.tables import SHIFT, turns

# Numbers in one tile of an outer transform (4096 took 1.1 times as long, H200).
_TILE = 2048
# Workspace for planes, bytes.
_PLANE_BYTES = 1 << 28


def convolve(
    u: Tensor,
    plan: Plan,
    data: Tensor,
    scale: Tensor,
    skip: Tensor | None,
    in_gate: Tensor | None,
    out_gate: Tensor | None,
    out: Tensor,
) -> None:
    """Writes the gated convolutions of u (B, H, L) into out, which may be u or a gate, with an error of about 1e-6.

    Args:
        u: Signals (B, H, L), float16, bfloat16 or float32, any strides; gates and out likewise.
        plan: How to compute: blocks without those before, or passes.
        data: The filters, prepared for this plan in float32.
        scale: (H,) float32, prepared with them.
        skip: (H,) or None.
        in_gate: (B, H, L) or None.
        out_gate: (B, H, L) or None.
        out: (B, H, L), dtype of u.
    """
    y = torch.empty(u.shape, dtype=out.dtype, device=u.device) if out.stride(-1) != 1 else out
    x = Operands(u, in_gate, out_gate, y, skip)
    factor = factors_for(x.u, x.in_gate if x.gates["IN_GATED"] else None)
    if plan.method == "blocks":
        _blocks(x, plan, data, scale, factor)
    else:
        _passes(x, plan, data, scale, factor)
    if y is not out:
        out.copy_(y)


def _blocks(x: Operands, plan: Plan, data: Tensor, scale: Tensor, factor: Tensor) -> None:
    B, H, L = x.u.shape
    device = x.u.device
    n1, n2 = plan.factors
    steps = portion(B, H)
    exact_blocks_kernel[(H, triton.cdiv(B, steps))](
        x.u, x.in_gate, x.out_gate, x.out, data, scale, factor, x.skip,
        _matrix(n1, n1, SHIFT, SHIFT, device), _twiddle(n1, n2, SHIFT, SHIFT, device), _matrix(n2, n2, 0, 0, device),
        *x.samples("u", "in_gate", "out_gate", "out"), B, H, L, steps,
        N1=n1, N2=n2, **x.gates, **x.skips, num_warps=4,
    )  # fmt: skip


def _passes(x: Operands, plan: Plan, data: Tensor, scale: Tensor, factor: Tensor) -> None:
    B, H, _ = x.u.shape
    group = max(1, min(H, _PLANE_BYTES // (B * plan.n * 8)))
    skip = x.skip / scale if x.skips["SKIP"] else scale
    planes = torch.empty(2, group * B * plan.n, device=x.u.device)
    for first in range(0, H, group):
        channels = min(group, H - first)
        _outer(x, plan, planes, factor, first, channels, inverse=False)
        _middle(plan, planes, B * channels, inverse=False)
        _inner(x, plan, data, skip, planes, first, channels)
        _middle(plan, planes, B * channels, inverse=True)
        _outer(x, plan, planes, scale / factor, first, channels, inverse=True)


def _outer(
    x: Operands, plan: Plan, planes: Tensor, factor: Tensor, first: int, channels: int, *, inverse: bool
) -> None:
    B, H, L = x.u.shape
    n1, m = plan.factors[0], plan.n // plan.factors[0]
    rows = B * channels
    width = _TILE // tile(n1)
    steps = portion(rows, triton.cdiv(m, width))
    gate = "out_gate" if inverse else "in_gate"
    exact_outer_kernel[(triton.cdiv(m, width), triton.cdiv(rows, steps))](
        x.u, getattr(x, gate), x.out, planes[0], planes[1],
        _matrix(n1, tile(n1), SHIFT, 0, x.u.device, inverse=inverse), _twiddle(n1, m, SHIFT, 0, x.u.device), factor,
        *x.samples("u", gate, "out"), B, H, first, L, n1, m, rows, steps,
        T1=tile(n1), C=width, GATED=x.gates[gate.upper() + "D"], INVERSE=inverse, num_warps=4,
    )  # fmt: skip


def _middle(plan: Plan, planes: Tensor, rows: int, *, inverse: bool) -> None:
    if len(plan.factors) < 4:
        return
    n1, m = plan.factors[1], prod(plan.factors[2:])
    rows *= plan.factors[0]
    width = _TILE // tile(n1)
    steps = portion(rows, triton.cdiv(m, width))
    exact_middle_kernel[(triton.cdiv(m, width), triton.cdiv(rows, steps))](
        planes[0], planes[1],
        _matrix(n1, tile(n1), 0, 0, planes.device, inverse=inverse), _twiddle(n1, m, 0, 0, planes.device),
        n1, m, rows, steps,
        T1=tile(n1), C=width, INVERSE=inverse, num_warps=4,
    )  # fmt: skip


def _inner(x: Operands, plan: Plan, data: Tensor, skip: Tensor, planes: Tensor, first: int, channels: int) -> None:
    B, device = x.u.shape[0], x.u.device
    n1, n2 = plan.factors[-2:]
    stretches = plan.n // (n1 * n2)
    work = B * channels * stretches
    steps = portion(work, 1)
    exact_inner_kernel[(triton.cdiv(work, steps),)](
        planes[0], planes[1], data, skip,
        _matrix(n1, n1, 0, 0, device), _matrix(n2, n2, 0, 0, device), _twiddle(n1, n2, 0, 0, device),
        B, first, stretches, steps, work,
        N1=n1, N2=n2, **x.skips, num_warps=4,
    )  # fmt: skip


@lru_cache(maxsize=32)
def _matrix(
    n: int, size: int, row_shift: float, column_shift: float, device: torch.device, *, inverse: bool = False
) -> Tensor:
    """The DFT over n values, rows and columns shifted, or its inverse: (2, 3, size, size), high and low float16.

    Planes are real, imaginary and minus imaginary; beyond n there are zeros.
    """
    j = torch.arange(n, dtype=torch.float64, device=device)
    z = turns((j[:, None] - row_shift) * (j - column_shift) / n) / math.sqrt(n)
    if inverse:
        z = z.t().conj()
    exact = torch.zeros(3, size, size, dtype=torch.float64, device=device)
    exact[:, :n, :n] = torch.stack((z.real, z.imag, -z.imag))
    high = exact.half()
    return torch.stack((high, (exact - high.double()).half()))


@lru_cache(maxsize=4)
def _twiddle(n: int, m: int, shift: float, early: float, device: torch.device) -> Tensor:
    """What stands between two factors n and m, (2, n, m) float32; `early` mends a shift in time of the first."""
    j = torch.arange(n, dtype=torch.float64, device=device)[:, None] - shift
    c = torch.arange(m, dtype=torch.float64, device=device)
    z = turns(j * (early / n + c / (n * m)))
    return torch.stack((z.real, z.imag)).float()
