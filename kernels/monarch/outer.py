"""The outer transforms of a plan, forth and back: one pass, two, or two in one; tiles, tables and launches."""

from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
import triton
from torch import Tensor

from genoconv.kernels import devices
from genoconv.kernels.monarch import tables
from genoconv.kernels.monarch.pairs_kernels import pair_forward_kernel, pair_inverse_kernel
from genoconv.kernels.monarch.passes_kernels import middle_kernel, outer_forward_kernel, outer_inverse_kernel
from genoconv.kernels.monarch.plan import LARGEST_OUTER, Plan, packed, paired, tile
from genoconv.kernels.monarch.ways import Pass, Way, way

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

    @property
    def ragged(self) -> bool:
        """Whether rows of signals do not start at multiples of 16 bytes."""
        return self.length * self.unit % 8 > 0

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
    if len(plan.factors) == 3 or plan.method == "signals":
        return _OnePass(plan, group, device)
    return _Pair(plan, group, device) if paired(*plan.factors[:2]) else _TwoPasses(plan, group, device)


class _Walk:
    """One transform over strided columns in one direction: how its launch is laid out.

    Attributes:
        grid: Programs: by column, by signal.
        sizes: Rows of the transform, columns, signals and the number of tiles of a program.
        options: Constants of the kernel and of its compilation.
    """

    def __init__(self, n1: int, m: int, shift: float, signals: int, most: int, way: Way) -> None:
        pack = packed(n1)
        steps = portion(triton.cdiv(signals, pack), m // way.columns, most)
        self.grid = (m // way.columns, triton.cdiv(signals, pack * steps))
        self.sizes = (n1, m, signals, steps)
        self.options = {"T1": tile(n1), "PACK": pack, **way.options}
        self._constants = (n1, m, tile(n1), way.columns, shift)

    def tables(self, *, inverse: bool, device: torch.device) -> tuple[Tensor, Tensor]:
        """Matrices and twiddle."""
        return (
            tables.outer_matrices(*self._constants, inverse, device),
            tables.outer_twiddle(*self._constants, device),
        )


class _OnePass:
    """The outermost transform, over strided columns."""

    def __init__(self, plan: Plan, group: Group, device: torch.device) -> None:
        self._rows = plan.factors[0], plan.n // plan.factors[0]
        self._sizes = (group.batch, group.first, group.length)
        self._group = group
        self._device = device

    def forward(self, source: Source, planes: Tensor) -> None:
        gate = source.x if source.gate is None else source.gate
        walk = self._walk("forth", gated=source.gate is not None or source.history)
        outer_forward_kernel[walk.grid](
            source.x, gate, planes[0], planes[1], *walk.tables(inverse=False, device=self._device),
            gate if source.factor is None else source.factor,
            *self._group.strides(source.x, gate), *self._sizes, *walk.sizes, self._group.chunks,
            **walk.options, UNIT=self._group.unit,
            IN_GATED=source.gate is not None, SCALED=source.factor is not None, HISTORY=source.history,
        )  # fmt: skip

    def inverse(self, planes: Tensor, target: Target) -> None:
        gate, second, second_gate = _gates(target)
        walk = self._walk("back", gated=target.gate is not None or target.second is not None)
        outer_inverse_kernel[walk.grid](
            planes[0], planes[1], gate, target.y, second_gate, second, target.scale,
            *walk.tables(inverse=True, device=self._device),
            *self._group.strides(gate, target.y, second_gate), *self._sizes, *walk.sizes, self._group.chunks,
            **walk.options, UNIT=self._group.unit,
            OUT_GATED=target.gate is not None, SECOND=target.second is not None,
        )  # fmt: skip

    def _walk(self, kind: Pass, *, gated: bool) -> _Walk:
        """How the kernel of one direction goes over signals; `gated` if it reads more than these, or writes more."""
        n1, m = self._rows
        most = _MOST_STEPS if tile(n1) > LARGEST_OUTER else _MOST_STEPS // 2
        shared = devices.shared_memory(self._device)
        chosen = way(kind, tile(n1), shared, ragged=self._group.ragged, gated=gated)
        return _Walk(n1, m, tables.SHIFT, self._group.rows, most, chosen)


class _TwoPasses(_OnePass):
    """Two outer transforms, each over strided columns: the planes are read and written once more."""

    def __init__(self, plan: Plan, group: Group, device: torch.device) -> None:
        super().__init__(plan, group, device)
        n1, m, rows = plan.factors[1], prod(plan.factors[2:]), plan.factors[0] * group.rows
        shared = devices.shared_memory(device)
        ways = way("middle forth", tile(n1), shared), way("middle back", tile(n1), shared)
        self._middles = [_Walk(n1, m, 0.0, rows, _MOST_STEPS // 2, each) for each in ways]

    def forward(self, source: Source, planes: Tensor) -> None:
        super().forward(source, planes)
        self._middle(planes, inverse=False)

    def inverse(self, planes: Tensor, target: Target) -> None:
        self._middle(planes, inverse=True)
        super().inverse(planes, target)

    def _middle(self, planes: Tensor, *, inverse: bool) -> None:
        walk = self._middles[inverse]
        middle_kernel[walk.grid](
            planes[0], planes[1], *walk.tables(inverse=inverse, device=self._device), *walk.sizes,
            **walk.options, INVERSE=inverse,
        )  # fmt: skip


class _Pair:
    """Two outer transforms in one pass: the rows of some columns stay on chip between them."""

    def __init__(self, plan: Plan, group: Group, device: torch.device) -> None:
        n1, n2 = plan.factors[:2]
        self._constants = (n1, n2, prod(plan.factors[2:]))
        self._tiles = tile(n1), tile(n2)
        self._between = tables.pair_between(n1, n2, self._tiles, device)
        shared = devices.shared_memory(device)
        self._forth = way("pair forth", prod(self._tiles), shared)
        self._back = way("pair back", prod(self._tiles), shared)
        self._group = group
        self._device = device

    def forward(self, source: Source, planes: Tensor) -> None:
        gate = source.x if source.gate is None else source.gate
        columns, warps = self._forth.columns, self._forth.warps
        twiddle = tables.ordered_pair_twiddle(*self._constants, self._tiles, columns, warps, self._device)
        grid, sizes = self._walk(columns)
        pair_forward_kernel[grid](
            source.x, gate, planes, *self._matrices(inverse=False), self._between, twiddle,
            gate if source.factor is None else source.factor,
            *self._group.strides(source.x, gate), planes.stride(0), *sizes,
            TA=self._tiles[0], TB=self._tiles[1], UNIT=self._group.unit,
            IN_GATED=source.gate is not None, SCALED=source.factor is not None, WARPS=warps,
            KEEP=self._forth.keep, **self._forth.options,
        )  # fmt: skip

    def inverse(self, planes: Tensor, target: Target) -> None:
        gate, second, second_gate = _gates(target)
        grid, sizes = self._walk(self._back.columns)
        pair_inverse_kernel[grid](
            planes, gate, target.y, second_gate, second, target.scale, *self._matrices(inverse=True), self._between,
            tables.pair_twiddle(*self._constants, self._device),
            *self._group.strides(gate, target.y, second_gate), planes.stride(0), *sizes,
            TA=self._tiles[0], TB=self._tiles[1], UNIT=self._group.unit,
            OUT_GATED=target.gate is not None, SECOND=target.second is not None, **self._back.options,
        )  # fmt: skip

    def _walk(self, width: int) -> tuple[tuple[int, int], tuple[int, ...]]:
        """Grid and sizes for tiles of so many columns."""
        group, m = self._group, self._constants[2]
        steps = portion(group.rows, m // width, _MOST_STEPS // 2)
        sizes = (group.batch, group.first, group.length, *self._constants, group.rows, steps, group.chunks, 0)
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


def portion(work: int, programs: int, most: int = _MOST_STEPS) -> int:
    """Pieces of work for one program, where the work comes in `programs` portions of `work` pieces."""
    return max(1, min(most, work * programs // _PROGRAMS), -(-work // 65535))
