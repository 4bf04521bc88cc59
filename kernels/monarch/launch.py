"""From tensors to kernel launches: strides, tables, tiles and workspace; one function for each method of a plan."""

from math import prod

import torch
import triton
from torch import Tensor

from genoconv.kernels.monarch import tables
from genoconv.kernels.monarch.blocks_kernel import blocks_kernel
from genoconv.kernels.monarch.direct_kernel import direct_kernel
from genoconv.kernels.monarch.filters import DIRECT_SAMPLES, DIRECT_STEP, GAIN
from genoconv.kernels.monarch.finite_kernel import finite_kernel
from genoconv.kernels.monarch.outer import Group, Source, Target, outer_of, portion
from genoconv.kernels.monarch.plan import PLANE_BYTES, Plan, tile
from genoconv.kernels.monarch.rows_kernel import rows_kernel
from genoconv.kernels.monarch.signals_kernel import planes_kernel, signals_kernel

# Where a program does whole signals: programs on a multiprocessor, and columns that each transforms at a time (H200, ps
# a sample of 4 x 64 x 64 and 6 x 64 x 64: 1,024 columns 6.4 and 7.2, 512 7.6 and 8.3; two programs 7.6 and 8.1).
_SIGNAL_PROGRAMS, _SIGNAL_COLUMNS = 3, 1024
# Rows of two blocks, by length: programs on a multiprocessor, and registers of their threads (H200, ps a sample: 64 x
# 64 3.6, with 160 registers 3.9, two programs 4.1; 64 x 32 3.7, with 96 registers 4.5, 128 3.9). Of one block always
# 168 registers, for three programs (64 x 64: 3.2, two 3.7, four 4.3; 64 x 32 takes as long with 96 to 168).
_ROWS_OF_TWO = {2048: (4, 112), 4096: (3, 168)}


class Operands:
    """The tensors of one convolution, each with unit stride in its samples, and what the kernels ask of them."""

    def __init__(
        self, u: Tensor, in_gate: Tensor | None, out_gate: Tensor | None, out: Tensor, skip: Tensor | None
    ) -> None:
        self.u = unit_stride(u)
        self.in_gate = self.u if in_gate is None else unit_stride(in_gate)
        self.out_gate = self.u if out_gate is None else unit_stride(out_gate)
        self.out = out
        self.skip = self.u if skip is None else skip.contiguous()
        self.gates = {"IN_GATED": in_gate is not None, "OUT_GATED": out_gate is not None}
        self.skips = {"SKIP": skip is not None}

        self.unit = common_unit(u.shape[-1], *self._strides("u", "in_gate", "out_gate", "out"))
        self.length = u.shape[-1] // self.unit

    def strides(self, *names: str) -> tuple[int, ...]:
        """Strides of batch and channel of some of the tensors, in order and in units."""
        return tuple(stride // self.unit for stride in self._strides(*names))

    def samples(self, *names: str) -> tuple[int, ...]:
        """The same in samples."""
        return self._strides(*names)

    def _strides(self, *names: str) -> tuple[int, ...]:
        return tuple(stride for name in names for stride in getattr(self, name).stride()[:2])


def convolve(
    u: Tensor,
    plan: Plan,
    taps: int,
    data: Tensor,
    scale: Tensor,
    skip: Tensor | None,
    in_gate: Tensor | None,
    out_gate: Tensor | None,
    out: Tensor,
) -> None:
    """Writes the gated convolutions of u (B, H, L) into out, which may be u or a gate.

    Args:
        u: Signals (B, H, L), float16, bfloat16 or float32, any strides; gates and out likewise.
        plan: How to compute.
        taps: Taps of the filters.
        data: The filters, prepared for this plan.
        scale: (H,) float32, prepared with them.
        skip: (H,) or None.
        in_gate: (B, H, L) or None.
        out_gate: (B, H, L) or None.
        out: (B, H, L), dtype of u.
    """
    aliased = any(t is not None and t.data_ptr() == out.data_ptr() for t in (u, in_gate))
    beside = out.stride(-1) != 1 or (aliased and not plan.in_place)
    y = torch.empty(u.shape, dtype=out.dtype, device=u.device) if beside else out
    operands = Operands(u, in_gate, out_gate, y, skip)
    if plan.method == "direct":
        _direct(operands, taps, data, scale)
    elif plan.method == "blocks":
        _blocks(operands, plan, data, scale)
    elif plan.method == "signals" and len(plan.factors) == 3:
        _signals(operands, plan, data, scale)
    else:
        _passes(operands, plan, data, scale)
    if beside:
        out.copy_(y)


def channels_not_finite(y: Tensor) -> list[int]:
    """The channels of y (B, H, L) with a value that is not finite; waits for the device."""
    y = unit_stride(y)
    B, H, L = y.shape
    flags = torch.zeros(H, dtype=torch.int32, device=y.device)
    finite_kernel[(triton.cdiv(L, 4 * 2048), H, B)](y, flags, *y.stride()[:2], L, SIZE=2048, STEPS=4)
    return [int(h) for h in flags.nonzero()]


def _direct(x: Operands, taps: int, data: Tensor, scale: Tensor) -> None:
    B, H, L = x.u.shape
    rows = min(64, tile(B))
    grid = (triton.cdiv(L, DIRECT_SAMPLES), H, triton.cdiv(B, rows))
    direct_kernel[grid](
        x.u, x.in_gate, x.out_gate, x.out, data, scale, x.skip,
        *x.strides("u", "in_gate", "out_gate", "out"),
        B, x.length, taps, data.shape[-1],
        BM=rows, BN=DIRECT_SAMPLES, BK=DIRECT_STEP, UNIT=x.unit, **x.gates, **x.skips,
        num_warps=4,
    )  # fmt: skip


def _blocks(x: Operands, plan: Plan, data: Tensor, scale: Tensor) -> None:
    B, H, L = x.u.shape
    device = x.u.device
    n1, n2 = plan.factors
    blocks = triton.cdiv(L, plan.n)
    steps = portion(B * blocks, H)
    if plan.history and steps >= blocks:
        steps -= steps % blocks
    blocks_kernel[(H, triton.cdiv(B * blocks, steps))](
        x.u, x.in_gate, x.out_gate, x.out, data, scale, x.skip,
        tables.shifted_dft_matrix(n1, device), tables.ordered_block_twiddle(n1, n2, device),
        tables.whole_dft_matrix(n2, device),
        *x.strides("u", "in_gate", "out_gate", "out"),
        x.length, blocks, steps, B * blocks, 0,
        N1=n1, N2=n2, HISTORY=plan.history, GROWTH=tables.growth(plan), UNIT=x.unit,
        **x.gates, **x.skips, **_block_options(n2, plan.history),
        num_warps=4,
    )  # fmt: skip


def _block_options(n2: int, history: int) -> dict[str, int]:
    """What to hold in registers, by measurement (H200, ps a sample, gated float16).

    64 x 16: tables 3.65. 64 x 32: tables and the next block, in few enough registers for three programs, 3.1; two
    programs, or no next block, 3.75. 64 x 64: three programs without tables 4.1, two with them 4.25. 64 x 64 with the
    block before: two programs 5.15, three 5.35, two with the next block 5.6.
    """
    options = {"KEEP": int(history == 0 and n2 < 64), "AHEAD": int(history == 0 and n2 == 32)}
    return options | ({"maxnreg": 168} if history == 0 and n2 > 16 else {})


def _signals(x: Operands, plan: Plan, data: Tensor, scale: Tensor) -> None:
    B, H, _ = x.u.shape
    device = x.u.device
    rows, n1, n2 = plan.factors
    programs = min(B * H, _SIGNAL_PROGRAMS * _multiprocessors(device))
    planes = torch.empty(programs, 2, plan.n, dtype=torch.float16, device=device)
    signals_kernel[(programs,)](
        x.u, x.in_gate, x.out_gate, x.out, planes, data, scale, _skip(x, plan, scale),
        *_signal_tables(rows, (n1, n2), tables.SHIFT, device),
        *x.strides("u", "in_gate", "out_gate", "out"),
        B, x.length, B * H,
        N1=n1, N2=n2, J=rows, G=_SIGNAL_COLUMNS // n2, GAIN=GAIN, UNIT=x.unit, **x.gates, **x.skips,
        num_warps=4, maxnreg=168,
    )  # fmt: skip


def _signal_tables(
    rows: int, inner: tuple[int, int], shift: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Coefficients of the outer transform, what `_row_tables` has, twiddles of the rows."""
    coefficients = tables.signal_coefficients(rows, inner, shift, device)
    return coefficients, *_row_tables(inner[1], device), tables.signal_twiddle(rows, inner, shift, GAIN, device)


def _multiprocessors(device: torch.device) -> int:
    """Of the GPU; without one, for the interpreter, 1."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _skip(x: Operands, plan: Plan, scale: Tensor) -> Tensor:
    """The skip term in the units of the spectrum, (H,) float32; anything if there is none."""
    return x.skip / (scale * tables.growth(plan)) if x.skips["SKIP"] else scale


def _passes(x: Operands, plan: Plan, data: Tensor, scale: Tensor) -> None:
    B, H, _ = x.u.shape
    each = B * _chunks(x, plan, data) * plan.n
    group = max(1, min(H, PLANE_BYTES // (each * 4)))
    skip = _skip(x, plan, scale)
    planes = torch.empty(2, group * each, dtype=torch.float16, device=x.u.device)
    for first in range(0, H, group):
        _pass_through(x, plan, data, scale, skip, planes, first, min(group, H - first))


def _chunks(x: Operands, plan: Plan, data: Tensor) -> int:
    """Chunks of a signal, at least as many as a filter has spectra."""
    return max(-(-x.u.shape[-1] // plan.n), _parts(plan, data))


def _parts(plan: Plan, data: Tensor) -> int:
    """Spectra of a filter (see `Plan.parts`) in data (H, parts * stretches, 2, N1, N2)."""
    return data.shape[1] * prod(plan.factors[-2:]) // plan.n


def _pass_through(
    x: Operands, plan: Plan, data: Tensor, scale: Tensor, skip: Tensor, planes: Tensor, first: int, channels: int
) -> None:
    """One group of channels, forth and back."""
    chunks = _chunks(x, plan, data)
    group = Group(x.u.shape[0] * chunks, first, channels, x.length, x.unit, chunks)
    outer = outer_of(plan, group, x.u.device)
    history = plan.history > 0 and _parts(plan, data) == 1
    outer.forward(Source(x.u, x.in_gate if x.gates["IN_GATED"] else None, history=history), planes)
    convolve_planes = _convolve_signals if plan.method == "signals" else _convolve_rows
    convolve_planes(planes, plan, data, skip if x.skips["SKIP"] else None, group)
    outer.inverse(planes, Target(x.out, x.out_gate if x.gates["OUT_GATED"] else None, scale))


def _convolve_rows(planes: Tensor, plan: Plan, data: Tensor, skip: Tensor | None, group: Group) -> None:
    """All that happens to planes (2, ...), in place, between the outer transforms.

    Two blocks are convolved by as many programs as run at a time, so that what waits between them stays in the cache;
    side by side they take the rows of one stretch, and with them its spectra (H200, ps a sample, 64 x 64 and 2,097,152
    samples: 3.65, shares of stretches one after the other 4.0). One block is faster in shares (64 x 32: 2.9 and 3.8).
    """
    inner = plan.factors[-2:]
    stretches = plan.n // prod(inner)
    device = planes.device
    blocks = _parts(plan, data)
    work = group.rows * stretches // blocks
    if blocks == 1:
        share, registers = portion(work, 1, 16), 168
        programs, room = triton.cdiv(work, share), planes
    else:
        together, registers = _ROWS_OF_TWO[prod(inner)]
        share, programs = 0, min(work, together * _multiprocessors(device))
        room = torch.empty(programs, 2, *inner, dtype=planes.dtype, device=device)
    rows_kernel[(programs,)](
        planes, data, data if skip is None else skip, *_row_tables(inner[1], device),
        tables.row_twiddle(inner[1], GAIN, device), room,
        planes.stride(0), group.batch // blocks, group.first, stretches, share, work,
        N2=inner[1], GAIN=GAIN, SKIP=skip is not None, BLOCKS=blocks,
        num_warps=4, maxnreg=registers,
    )  # fmt: skip


def _row_tables(n2: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices of the transforms of a row (64, n2), and the factor of the odd half."""
    return tables.half_left(device), tables.half_right(n2, GAIN, device), tables.half_twist(device)


def _convolve_signals(planes: Tensor, plan: Plan, data: Tensor, skip: Tensor | None, group: Group) -> None:
    """The same where each row of the outer transform is a signal of a few rows for itself."""
    first, rows, n1, n2 = plan.factors
    device = planes.device
    work = group.rows * first
    planes_kernel[(min(work, _SIGNAL_PROGRAMS * _multiprocessors(device)),)](
        planes, data, data if skip is None else skip, *_signal_tables(rows, (n1, n2), 0.0, device),
        planes.stride(0), group.batch, group.first, first, work,
        N1=n1, N2=n2, J=rows, G=_SIGNAL_COLUMNS // n2, GAIN=GAIN, SKIP=skip is not None,
        num_warps=4, maxnreg=168,
    )  # fmt: skip


def common_unit(*sizes: int) -> int:
    """8 if the compiler is to be told that all sizes are multiples of 8, else 1.

    Multiples of 16 it notices by itself, and then needs fewer registers without the factor.
    """
    remainders = {size % 16 for size in sizes}
    return 8 if 8 in remainders and remainders <= {0, 8} else 1


def unit_stride(x: Tensor) -> Tensor:
    """x, or a copy of it whose samples lie side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()
