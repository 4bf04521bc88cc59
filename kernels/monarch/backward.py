"""From tensors to the launches of the backward kernels: a result's gradient in, the gradients of all operands out."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

import torch
import triton
from torch import Tensor

from genoconv.kernels.monarch import filters, tables
from genoconv.kernels.monarch.backward_kernels import (
    blocks_backward_kernel,
    inner_backward_kernel,
)
from genoconv.kernels.monarch.launch import common_unit, unit_stride
from genoconv.kernels.monarch.loudness import factor_for
from genoconv.kernels.monarch.outer import Group, Source, Target, outer_of, portion
from genoconv.kernels.monarch.plan import H200, PLANE_BYTES, Plan, Rates, candidates, cost

# Time of the backward kernels by length of a block or row, in forward ones (H200), where two outer passes and their
# inverses count as one: 64 x 16 10.2 ps a sample, 64 x 32 10.0, 64 x 64 22.9; rows 10.8 and 20.1.
_BLOCKS = {1024: 1.4, 2048: 1.6, 4096: 2.8}
_INNER = {2048: 1.33, 4096: 2.4}
# Programs that fill a GPU several times over.
_PROGRAMS = 132 * 8


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients of the operands, those of the signals with unit stride in their samples; None for absent operands."""

    u: Tensor
    taps: Tensor
    skip: Tensor | None
    in_gate: Tensor | None
    out_gate: Tensor | None


@lru_cache(maxsize=4096)
def choose(batch: int, channels: int, length: int, rates: Rates = H200) -> Plan:
    """The cheapest plan for gradients: of those that transform a whole signal at once."""
    plans = [plan for plan in candidates(length, length) if plan.method in ("passes", "blocks") and not plan.history]
    slower = replace(
        rates,
        blocks={size: rate * _BLOCKS[size] for size, rate in rates.blocks.items()},
        inner={size: rate * _INNER[size] for size, rate in rates.inner.items()},
    )
    return min(plans, key=lambda plan: cost(plan, batch, channels, length, length, slower))


class _Operands:
    """The tensors of one backward pass, each with unit stride in its samples, and room for what comes out."""

    def __init__(
        self, u: Tensor, dy: Tensor, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None
    ) -> None:
        self.u, self.dy = unit_stride(u), unit_stride(dy)
        self.in_gate = self.u if in_gate is None else unit_stride(in_gate)
        self.out_gate = self.dy if out_gate is None else unit_stride(out_gate)
        self.du = torch.empty(u.shape, dtype=u.dtype, device=u.device)
        self.din = self.du if in_gate is None else torch.empty(u.shape, dtype=in_gate.dtype, device=u.device)
        self.dout = self.du if out_gate is None else torch.empty(u.shape, dtype=out_gate.dtype, device=u.device)
        self.skip = skip
        self.in_gated, self.out_gated = in_gate is not None, out_gate is not None
        names = ("u", "in_gate", "out_gate", "dy", "du")
        self.unit = common_unit(u.shape[-1], *(stride for name in names for stride in self._strides(name)))
        self.length = u.shape[-1] // self.unit
        self.factor = factor_for(self.dy, self.out_gate if self.out_gated else None)

    def strides(self, *names: str) -> tuple[int, ...]:
        """Strides of batch and channel of some of the tensors, in order and in units."""
        return tuple(stride // self.unit for name in names for stride in self._strides(name))

    def _strides(self, name: str) -> tuple[int, ...]:
        return tuple(getattr(self, name).stride()[:2])


def gradients(
    u: Tensor,
    dy: Tensor,
    plan: Plan,
    data: Tensor,
    scale: Tensor,
    taps: int,
    skip: Tensor | None,
    in_gate: Tensor | None,
    out_gate: Tensor | None,
) -> Gradients:
    """The gradients of u, taps, skip and gates.

    Args:
        u: Signals (B, H, L), float16, bfloat16 or float32, any strides; gates likewise.
        dy: Gradient of the result, (B, H, L). It may be as small as bfloat16 allows: it is scaled by channel.
        plan: One that `choose` may give.
        data: The filters, prepared for this plan.
        scale: (H,) float32, prepared with them.
        taps: Taps of the filters, at most L.
        skip: (H,) or None.
        in_gate: (B, H, L) or None.
        out_gate: (B, H, L) or None.

    Returns:
        Gradients: of signals in the operand's dtype, of taps (H, taps) and skip (H,) in float32.
    """
    x = _Operands(u, dy, skip, in_gate, out_gate)
    dtaps = _blocks(x, plan, data, scale, taps) if plan.method == "blocks" else _passes(x, plan, data, scale, taps)
    return Gradients(
        x.du,
        dtaps,
        # The skip term is one more tap at lag 0.
        None if skip is None else dtaps[:, 0].clone(),
        x.din if x.in_gated else None,
        x.dout if x.out_gated else None,
    )


def _blocks(x: _Operands, plan: Plan, data: Tensor, scale: Tensor, taps: int) -> Tensor:
    B, H, _ = x.u.shape
    device = x.u.device
    n1, n2 = plan.factors
    steps = portion(B, H)
    parts = triton.cdiv(B, steps)
    product = torch.empty(parts, H, 2, plan.n, device=device)
    blocks_backward_kernel[(H, parts)](
        x.u, x.in_gate, x.out_gate, x.dy, x.du, x.din, x.dout, product,
        data, scale, scale if x.skip is None else x.skip.contiguous(), x.factor,
        tables.shifted_dft_matrix(n1, device), tables.block_twiddle(n1, n2, device), tables.dft_matrix(n2, device),
        *x.strides("u", "in_gate", "out_gate", "dy", "du"), B, H, x.length, steps,
        N1=n1, N2=n2, UNIT=x.unit, IN_GATED=x.in_gated, OUT_GATED=x.out_gated, SKIP=x.skip is not None,
        GROWTH=tables.growth(plan),
        num_warps=4, **({"maxnreg": 168} if n2 == 16 else {}),
    )  # fmt: skip
    return filters.gradient(product, plan, taps, x.factor)


def _passes(x: _Operands, plan: Plan, data: Tensor, scale: Tensor, taps: int) -> Tensor:
    """Some channels at a time: their planes are all that takes memory."""
    B, H, _ = x.u.shape
    group = max(1, min(H, PLANE_BYTES // ((B + 1) * plan.n * 8)))
    skip = scale if x.skip is None else x.skip / (scale * tables.growth(plan))
    planes = torch.empty(2, 2, group * B * plan.n, dtype=torch.float16, device=x.u.device)
    lags = []
    for first in range(0, H, group):
        channels = min(group, H - first)
        product = _pass_through(x, plan, data, scale, skip, planes, first, channels)
        lags.append(filters.gradient(product, plan, taps, x.factor[first : first + channels]))
    return lags[0] if len(lags) == 1 else torch.cat(lags)


def _pass_through(
    x: _Operands, plan: Plan, data: Tensor, scale: Tensor, skip: Tensor, planes: Tensor, first: int, channels: int
) -> Tensor:
    """One group of channels, forth and back; returns the products of spectra (parts, channels, ...)."""
    outer = outer_of(plan, Group(x.u.shape[0], first, channels, x.length, x.unit), x.u.device)
    in_gate = x.in_gate if x.in_gated else None
    outer.forward(Source(x.u, in_gate), planes[0])
    outer.forward(Source(x.dy, x.out_gate if x.out_gated else None, x.factor), planes[1])
    product = _inner(x, plan, data, skip, planes, first, channels)
    if x.out_gated:
        outer.inverse(planes[0], Target(x.dout, x.dy, scale))
    of_gate = (x.din, x.u) if x.in_gated else (None, None)
    outer.inverse(planes[1], Target(x.du, in_gate, scale / x.factor, *of_gate))
    return product


def _inner(x: _Operands, plan: Plan, data: Tensor, skip: Tensor, planes: Tensor, first: int, channels: int) -> Tensor:
    """The convolutions of the rows of a group of channels."""
    B = x.u.shape[0]
    inner = plan.factors[-2:]
    each = plan.n // prod(inner)
    stretches = channels * each
    steps = max(1, min(32 // B, stretches // _PROGRAMS))
    rows = portion(B, stretches)
    product = torch.empty(triton.cdiv(B, rows), channels, each, 2, prod(inner), device=x.u.device)
    device = x.u.device
    inner_backward_kernel[(triton.cdiv(stretches, steps), triton.cdiv(B, rows))](
        *planes[0], *planes[1], product, data, skip,
        tables.halved_left(device), tables.halved_right(inner[1], device), tables.halved_twiddle(inner[1], device),
        B, rows, first, each, steps, stretches,
        N1=inner[0], N2=inner[1], GAIN=filters.GAIN, SKIP=x.skip is not None, RESULT=x.out_gated, num_warps=4,
    )  # fmt: skip
    return product
