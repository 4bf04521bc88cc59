"""The outer transforms of a plan, forth and back: one pass, two, or two in one; tiles, tables and launches."""

from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
import triton
from torch import Tensor

from genoconv.kernels.monarch import tables
from genoconv.kernels.monarch.pairs_kernels import pair_forward_kernel, pair_inverse_kernel
from genoconv.kernels.monarch.passes_kernels import middle_kernel, outer_forward_kernel, outer_inverse_kernel
from genoconv.kernels.monarch.plan import LARGEST_OUTER, Plan, packed, paired, tile

# Work of one program: enough to spread the loading of tables, few enough to fill the GPU several times over.
_MOST_STEPS = 32
_PROGRAMS = 132 * 8


@dataclass(frozen=True, slots=True)
class Source:
    """Signals (B, H, L) to be transformed.

    Attributes:
        x: The signals.
        gate: What they are multiplied with; None for nothing.
        factor: (H,), of each channel; None for 1.
        history: Whether each chunk is to have minus the one before as its imaginary part.
    """

    x: Tensor
    gate: Tensor | None = None
    factor: Tensor | None = None
    history: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Signals (B, H, L) to be written.

    Attributes:
        y: The signals.
        gate: What they are multiplied with; None for nothing.
        scale: (H,), of each channel.
        second: Written too, strides as those of y, times the second gate; None for nothing.
        second_gate: The gate of the second.
    """

    y: Tensor
    gate: Tensor | None
    scale: Tensor
    second: Tensor | None = None
    second_gate: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A group of channels that goes through planes (2, ...) float16 together.

    Attributes:
        batch: Rows of the batch, times chunks.
        first: The first channel.
        channels: How many.
        length: Samples of a signal, in units.
        unit: Samples of a unit.
        chunks: Chunks of a signal.
    """

    batch: int
    first: int
    channels: int
    length: int
    unit: int
    chunks: int = 1

    @property
    def rows(self) -> int:
        """Signals, or chunks of them."""
        return self.batch * self.channels

    def strides(self, *tensors: Tensor) -> tuple[int, ...]:
        """Strides of batch and channel in units."""
        return tuple(stride // self.unit for tensor in tensors for stride in tensor.stride()[:2])


class Outer(Protocol):
    """All outer transforms of a plan."""

    def forward(self, source: Source, planes: Tensor) -> None:
        """Signals into planes (2, ...)."""

    def inverse(self, planes: Tensor, target: Target) -> None:
        """Planes, which may be written over, into signals."""


def outer_of(plan: Plan, group: Group, device: torch.device) -> Outer:
    """The outer transforms of a plan."""
    if len(plan.factors) == 3:
        return _OnePass(plan, group, device)
    return _Pair(plan, group, device) if paired(*plan.factors[:2]) else _TwoPasses(plan, group, device)


class _OnePass:
    """The outermost transform, over strided columns."""

    def __init__(self, plan: Plan, group: Group, device: torch.device) -> None:
        n1 = plan.factors[0]
        m = plan.n // n1
        width = columns(n1)
        pack = packed(n1)
        most = _MOST_STEPS if tile(n1) > LARGEST_OUTER else _MOST_STEPS // 2
        steps = portion(triton.cdiv(group.rows, pack), m // width, most)
        self._constants = (n1, m, tile(n1), width, tables.SHIFT)
        self._sizes = (group.batch, group.first, group.length, n1, m, group.rows, steps, group.chunks)
        self._shape = {"T1": tile(n1), "C": width, "PACK": pack, "UNIT": group.unit}
        self._grid = (m // width, triton.cdiv(group.rows, pack * steps))
        self._warps = 8 if tile(n1) > LARGEST_OUTER else 4
        # Of the transform forth, for 3 or 2 programs on a multiprocessor.
        self._registers = 128 if self._warps == 8 else 168
        self._group = group
        self._device = device

    def forward(self, source: Source, planes: Tensor) -> None:
        gate = source.x if source.gate is None else source.gate
        outer_forward_kernel[self._grid](
            source.x, gate, planes[0], planes[1],
            tables.outer_matrices(*self._constants, False, self._device),
            tables.outer_twiddle(*self._constants, self._device),
            gate if source.factor is None else source.factor,
            *self._group.strides(source.x, gate), *self._sizes,
            **self._shape, IN_GATED=source.gate is not None, SCALED=source.factor is not None, HISTORY=source.history,
            num_warps=self._warps, maxnreg=self._registers,
        )  # fmt: skip

    def inverse(self, planes: Tensor, target: Target) -> None:
        gate, second, second_gate = _gates(target)
        outer_inverse_kernel[self._grid](
            planes[0], planes[1], gate, target.y, second_gate, second, target.scale,
            tables.outer_matrices(*self._constants, True, self._device),
            tables.outer_twiddle(*self._constants, self._device),
            *self._group.strides(gate, target.y, second_gate), *self._sizes,
            **self._shape, OUT_GATED=target.gate is not None, SECOND=target.second is not None,
            num_warps=self._warps,
        )  # fmt: skip


class _TwoPasses(_OnePass):
    """Two outer transforms, each over strided columns: the planes are read and written once more."""

    def __init__(self, plan: Plan, group: Group, device: torch.device) -> None:
        super().__init__(plan, group, device)
        n1, m, rows = plan.factors[1], prod(plan.factors[2:]), plan.factors[0] * group.rows
        width = columns(n1)
        pack = packed(n1)
        steps = portion(triton.cdiv(rows, pack), m // width, _MOST_STEPS // 2)
        self._middle_constants = (n1, m, tile(n1), width, 0.0)
        self._middle_sizes = (n1, m, rows, steps)
        self._middle_shape = {"T1": tile(n1), "C": width, "PACK": pack}
        self._middle_grid = (m // width, triton.cdiv(rows, pack * steps))

    def forward(self, source: Source, planes: Tensor) -> None:
        super().forward(source, planes)
        self._middle(planes, inverse=False)

    def inverse(self, planes: Tensor, target: Target) -> None:
        self._middle(planes, inverse=True)
        super().inverse(planes, target)

    def _middle(self, planes: Tensor, *, inverse: bool) -> None:
        middle_kernel[self._middle_grid](
            planes[0], planes[1],
            tables.outer_matrices(*self._middle_constants, inverse, self._device),
            tables.outer_twiddle(*self._middle_constants, self._device),
            *self._middle_sizes,
            **self._middle_shape, INVERSE=inverse, num_warps=4,
        )  # fmt: skip


class _Pair:
    """Two outer transforms in one pass: the rows of some columns stay on chip between them.

    Of what was tried (H200, ps a sample of 16 x 16 rows): forth 16 columns, 8 warps and 3 programs on a multiprocessor
    3.2, 32 columns 4.0; back 32 columns, 8 warps and 2 programs 3.2, 16 columns 3.4.
    """

    def __init__(self, plan: Plan, group: Group, device: torch.device) -> None:
        n1, n2 = plan.factors[:2]
        self._constants = (n1, n2, prod(plan.factors[2:]))
        self._tiles = tile(n1), tile(n2)
        self._between = tables.pair_between(n1, n2, self._tiles, device)
        self._group = group
        self._device = device

    def forward(self, source: Source, planes: Tensor) -> None:
        gate = source.x if source.gate is None else source.gate
        width, warps = 16, 8
        twiddle = tables.ordered_pair_twiddle(*self._constants, self._tiles, width, warps, self._device)
        grid, sizes = self._walk(width)
        pair_forward_kernel[grid](
            source.x, gate, planes, *self._matrices(inverse=False), self._between, twiddle,
            gate if source.factor is None else source.factor,
            *self._group.strides(source.x, gate), planes.stride(0), *sizes,
            TA=self._tiles[0], TB=self._tiles[1], C=width, UNIT=self._group.unit,
            IN_GATED=source.gate is not None, SCALED=source.factor is not None, WARPS=warps,
            num_warps=warps, maxnreg=80 if prod(self._tiles) <= 256 else 128,
        )  # fmt: skip

    def inverse(self, planes: Tensor, target: Target) -> None:
        gate, second, second_gate = _gates(target)
        # Of 512 rows 32 columns would be faster (3.8 instead of 4.4), but more than the shared memory of some GPUs.
        width = 32 if prod(self._tiles) <= 256 else 16
        grid, sizes = self._walk(width)
        pair_inverse_kernel[grid](
            planes, gate, target.y, second_gate, second, target.scale, *self._matrices(inverse=True), self._between,
            tables.pair_twiddle(*self._constants, self._device),
            *self._group.strides(gate, target.y, second_gate), planes.stride(0), *sizes,
            TA=self._tiles[0], TB=self._tiles[1], C=width, UNIT=self._group.unit,
            OUT_GATED=target.gate is not None, SECOND=target.second is not None,
            num_warps=8, maxnreg=128,
        )  # fmt: skip

    def _walk(self, width: int) -> tuple[tuple[int, int], tuple[int, ...]]:
        """Grid and sizes for tiles of so many columns."""
        group, m = self._group, self._constants[2]
        steps = portion(group.rows, m // width, _MOST_STEPS // 2)
        sizes = (group.batch, group.first, group.length, *self._constants, group.rows, steps, 0)
        return (m // width, triton.cdiv(group.rows, steps)), sizes

    def _matrices(self, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Of the outermost transform and the second."""
        (n1, n2, _), (t1, t2) = self._constants, self._tiles
        return (
            tables.outer_matrices(n1, 1, t1, 1, tables.SHIFT, inverse, self._device),
            tables.outer_matrices(n2, 1, t2, 1, 0.0, inverse, self._device),
        )


def _gates(target: Target) -> tuple[Tensor, Tensor, Tensor]:
    """Gate, second target and its gate; what is absent is never read."""
    gate = target.y if target.gate is None else target.gate
    if target.second is None or target.second_gate is None:
        return gate, target.y, gate
    return gate, target.second, target.second_gate


def columns(rows: int) -> int:
    """Columns of an outer tile of some rows; of 32 to 512, these were fastest (H200)."""
    return 32 if rows > LARGEST_OUTER else 64 if rows > 16 else 128


def portion(work: int, programs: int, most: int = _MOST_STEPS) -> int:
    """Pieces of work for one program, where the work comes in `programs` portions of `work` pieces."""
    return max(1, min(most, work * programs // _PROGRAMS), -(-work // 65535))
