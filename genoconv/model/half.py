"""The fast path in half precision: token ids -> hidden states by the fused kernels of a GPU, without gradients.

The stream x (P, d) stays in float32, for the P = B * L positions of all rows, one behind the other; all else is float16
with float32 sums. A block passes over the positions twice and over the channels once:

    1. projections of the normalised stream, short filter, v * x1  ->  v and x0, (d, P)
    2. the long filter on v, skip and gate x0 in the same step
    3. output projection, add, norm, MLP, add  ->  x, in place, and x normalised for the next block

Step 3 of a block and step 1 of the next one are done chunk of positions by chunk of positions.

What overflows float16 is an error, not a number: whatever is not finite anywhere ends up in the stream.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from genoconv.kernels.backends import interpreted, triton_obstacle
from genoconv.kernels.block import packing, reference
from genoconv.kernels.block.packing import Projection, Transform
from genoconv.kernels.monarch.plan import PLANE_BYTES
from genoconv.model.block import Block
from genoconv.model.config import NORM_EPS, PAD, HyenaConfig
from genoconv.model.graphs import LARGEST, States, recorded
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.products import bfloat16_obstacle
from genoconv.model.spectra import ALL, Kept, filter_bank, round_length, taps_at_a_time
from genoconv.model.workers import Workers

WIDEST = 256
"""Channels of a model up to which the kernels hold a tile on the chip."""

ROW_STEP = 16
"""Rows are padded to a multiple of so many positions: all start at multiples of 16 bytes, and a kernel serves all."""

# The kernel of the gates takes two positions as one number: in long rows it is one kernel as well.
_LONG_ROW, _LONG_ROW_STEP = 1024, 32
# What one block of a signal leaves for the next: 48 KiB on each multiprocessor.
_BETWEEN_BLOCKS = 16 << 20
# Models have a multiple of so many channels.
_CHANNELS = 8
# Positions passed through at a time: so many that a GPU is full, so few that memory does not grow; 16 tiles for each
# multiprocessor of an H100 or H200. Chunks that stay in its cache (16,896 positions) were 10% slower, not faster.
_CHUNK = 16 * 132 * 128
# Filters are transformed so much at a time.
_TRANSFORM_BYTES = 1 << 29
# Positions before a chunk that are projected again, for the short filter looks back on two.
_BEHIND = 8
_FINAL_ROWS = 1 << 18


class HalfPrecisionOverflowError(ArithmeticError):
    """Numbers beyond the range of half precision, in a block of the model.

    Attributes:
        where: The block and what in it, in words.
    """

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} is beyond the range of half precision")
        self.where = where


@dataclass(frozen=True, slots=True)
class HalfWeights:
    """A model's parameters as the kernels read them.

    Attributes:
        table: The embedding, normalised, (vocabulary, d) float16.
        projections: Of every block.
        transforms: Of every block.
    """

    table: Tensor
    projections: tuple[Projection, ...]
    transforms: tuple[Transform, ...]


_WEIGHTS: WeakKeyDictionary[HyenaDNA, tuple[object, HalfWeights]] = WeakKeyDictionary()


def by_kernels(device: torch.device) -> bool:
    """Whether half precision is that of the kernels on a device; on a CPU, `genoconv.model.products` round instead."""
    return device.type != "cpu" or interpreted()


def operands(precision: str, device: torch.device) -> str:
    """The type that operands of products with weights are rounded to: a name to announce and to record."""
    if precision != "half":
        return "float32"
    return "float16" if by_kernels(device) else "bfloat16"


def obstacle(config: HyenaConfig, device: torch.device, longest: int = 1) -> str:
    """Why a model does not run in half precision on a device, for up to `longest` tokens; empty if it does."""
    if not by_kernels(device):
        return bfloat16_obstacle()
    if config.d_model > WIDEST or config.d_model % _CHANNELS:
        return f"takes models of up to {WIDEST} channels, a multiple of {_CHANNELS}; this one has {config.d_model}"
    return triton_obstacle(device, torch.float16, _row(longest))


def memory_per_base(config: HyenaConfig) -> int:
    """Bytes of activations per position of a padded batch: stream, v and x0, and the token id."""
    return (4 + 2 * 2) * config.d_model + 8


def fixed_bytes(config: HyenaConfig, bases: int, longest: int, kept: Kept = ALL, *, held: bool = False) -> int:
    """Bytes that a GPU run takes at most beside `memory_per_base`, the weights and the spectra that are kept.

    Args:
        config: The model.
        bases: Padded bases of a batch.
        longest: Bases of its longest record.
        kept: What is kept of the filters.
        held: Whether spectra are kept for the next batch, and so made whole; else a few channels at a time.
    """
    d, taps, n = config.d_model, 4 * kept.count(config, longest), round_length(longest)
    normal, projections = 2 * d * min(_CHUNK, bases), 2 * 3 * d * min(_CHUNK, bases)  # of a chunk
    planes = min(PLANE_BYTES, 4 * d * bases)
    planes += _BETWEEN_BLOCKS
    channels = d if held else min(d, taps_at_a_time(longest, 1, "cuda"))
    transforms = 3 * min(8 * channels * n, _TRANSFORM_BYTES)  # what is transformed, the result, and room to work
    making = channels * taps + max(2 * config.filter_order * taps, transforms)
    if not held:
        making += config.filter_order * taps + 4 * channels * n
    return normal + max(planes, projections, making)


def half_states(
    model: HyenaDNA,
    ids: Tensor,
    wanted: set[int],
    kept: Kept,
    overflowed: set[int] | None = None,
    unchecked: list[Tensor] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """As `genoconv.model.inference.hidden_states`, for layers (from 0) in a set.

    Raises:
        HalfPrecisionOverflowError: The states are not finite.
    """
    L = ids.shape[1]
    states = _states(model, ids, wanted, kept)
    while True:
        with torch.no_grad():
            found = next(states, None)
        if found is None:
            return
        if found.bad is not None and unchecked is not None:
            unchecked.append(found.bad)
        elif found.bad is not None and found.bad.any():
            if overflowed is None:
                raise HalfPrecisionOverflowError(_overflowing(model, ids, kept))
            overflowed |= _not_finite(found.hidden)
        yield found.layer, found.hidden[:, :L]


def _states(model: HyenaDNA, ids: Tensor, wanted: set[int], kept: Kept) -> Iterator[States]:
    """The states by a recording, if the shape has one or is to have one, else kernel by kernel."""
    bank = filter_bank(model)
    passes = partial(_passes, model, wanted=wanted, kept=kept)
    # A low-pass takes tables that nobody holds for a recording.
    if not _recordable(ids) or wanted == {0} or kept.frequencies != 1.0:
        return passes(ids)
    shape = (*ids.shape, frozenset(wanted), kept)
    recording = bank.graphs.find(shape)
    if recording is None and bank.graphs.due(shape):
        spectra = bank.held(model.config, len(ids), _row(ids.shape[1]), kept)
        if spectra is not None:
            recording = recorded(passes, ids, count=len(wanted), reads=[half_weights(model), *spectra])
        if recording is not None:
            bank.graphs.keep(shape, recording)
    if recording is None or recording.busy:
        return passes(ids)
    bank.held(model.config, len(ids), _row(ids.shape[1]), kept)  # they are in use
    return recording.replay(ids)


def _recordable(ids: Tensor) -> bool:
    return ids.device.type == "cuda" and 0 < ids.numel() <= LARGEST


def _passes(model: HyenaDNA, ids: Tensor, *, wanted: set[int], kept: Kept) -> Iterator[States]:
    """The states of padded rows (B, row, d); never waits for the device."""
    last = model.config.n_layer
    ids = _padded(ids)
    if wanted == {0}:
        yield States(0, functional.embedding(ids, model.embedding.weight), None)
        return
    run = _Run(model, ids, kept)
    x = run.stream.view(*ids.shape, -1)  # (B, row, d)
    if 0 in wanted:
        yield States(0, x, None)
    until = min(max(wanted), last)
    for layer in range(1, until + 1):
        final = layer == last and last + 1 in wanted and last not in wanted
        run.mix(layer)
        run.transform(layer, final=final, onward=layer < until)
        if layer in wanted or final:
            yield States(last + 1 if final else layer, x, run.bad)
    if {last, last + 1} <= wanted:
        del run
        for part in torch.split(x.view(-1, x.shape[-1]), _FINAL_ROWS):
            part.copy_(functional.layer_norm(part, part.shape[1:], model.norm.weight, model.norm.bias, model.norm.eps))
        yield States(last + 1, x, None)


def _not_finite(states: Tensor) -> set[int]:
    """Rows of states (B, row, d) with a number that is not finite; all if there is none, for one row must have some."""
    rows = [place for place, row in enumerate(states) if not row.isfinite().all()]
    return set(rows or range(len(states)))


def _padded(ids: Tensor) -> Tensor:
    """Token ids (B, L) -> (B, row) int64, padded on the right: nothing before it sees it."""
    return functional.pad(ids.long(), (0, _row(ids.shape[1]) - ids.shape[1]), value=PAD)


def _row(length: int) -> int:
    """Positions of a padded row."""
    step = ROW_STEP if length < _LONG_ROW else _LONG_ROW_STEP
    return -(-length // step) * step


class _Run:
    """One batch on its way through the blocks.

    Between two convolutions positions are passed through a chunk at a time, so that only a chunk is held of what is
    neither the stream nor a signal.

    Attributes:
        stream: (P, d) float32.
        bad: (n_layer,) int32: not 0 for blocks with numbers that are not finite.
        mixed: (d, P) float16: after `mix`, what the block's convolution gave.
    """

    def __init__(self, model: HyenaDNA, ids: Tensor, kept: Kept) -> None:
        """Embeds token ids (B, row), and goes on to the convolution of the first block."""
        from genoconv.kernels.block import launch

        d, positions = model.config.d_model, ids.numel()
        self._model, self._shape, self._kept = model, ids.shape, kept
        self._padding = None if kept.frequencies == 1.0 else (ids == PAD).view(1, -1)  # (1, P)
        self._bank, self._weights = filter_bank(model), half_weights(model)
        table, normal_table = model.embedding.weight.detach(), self._weights.table
        self.stream = table.new_empty(positions, d)
        self.mixed, self._gate = (normal_table.new_empty(d, positions) for _ in range(2))
        self._normal = normal_table.new_empty(_BEHIND + min(_CHUNK, positions), d)
        self.bad = torch.zeros(model.config.n_layer, dtype=torch.int32, device=ids.device)
        for at in self._chunks():
            normal = self._normal[_BEHIND : _BEHIND + at.stop - at.start]
            launch.embed(ids.view(-1)[at], table, normal_table, self.stream[at], normal)
            self._project(1, at)

    def mix(self, layer: int) -> None:
        """The convolution of block `layer` (from 1), and its gates."""
        if not self.mixed.numel():
            return
        B, row = self._shape
        v, gate = (signal.view(-1, B, row).transpose(0, 1) for signal in (self.mixed, self._gate))  # (B, d, row)
        if self._padding is not None:
            self.mixed.masked_fill_(self._padding, 0.0)
        operator = self._model.stack[layer - 1].operator
        with Workers(v.device, count=1) as workers:
            mixed = self._bank.convolve(self._model.config, layer, operator, v, gate, self._kept, workers)
        self.mixed = mixed.transpose(0, 1).view_as(self.mixed)

    def transform(self, layer: int, *, final: bool, onward: bool) -> None:
        """What is left of block `layer`; `final`: and the final norm; `onward`: and on to the next convolution."""
        from genoconv.kernels.block import launch

        weights, bad = self._weights.transforms[layer - 1], self.bad[layer - 1 : layer]
        for at in self._chunks():
            normal = self._normal[_BEHIND : _BEHIND + at.stop - at.start]
            launch.transform(self.stream[at], self.mixed[:, at], weights, normal, bad, final=final)
            if onward:
                self._project(layer + 1, at)

    def _chunks(self) -> Iterator[slice]:
        positions = len(self.stream)
        for first in range(0, positions, _CHUNK):
            yield slice(first, min(first + _CHUNK, positions))

    def _project(self, layer: int, at: slice) -> None:
        """The normalised stream of a chunk -> v * x1 and x0 of block `layer`."""
        from genoconv.kernels.block import launch

        projection, count = self._weights.projections[layer - 1], at.stop - at.start
        behind = min(at.start, _BEHIND)
        u = projection.weight @ self._normal[_BEHIND - behind : _BEHIND + count].t()  # (3 d, behind + count)
        launch.gates(u, projection, self.mixed, self._gate, first=at.start, behind=behind, row=self._shape[1])
        if at.stop < len(self.stream):
            self._normal[:_BEHIND] = self._normal[count : count + _BEHIND]


def half_weights(model: HyenaDNA) -> HalfWeights:
    """The parameters of a model for the kernels; made once, and again when they have changed."""
    now = filter_bank(model).stamp
    before, weights = _WEIGHTS.get(model, (None, None))
    if weights is None or before is not now:
        weights = HalfWeights(
            table=reference.normalised(model.embedding.weight.detach(), NORM_EPS),
            projections=tuple(_projection(block) for block in model.stack),
            transforms=tuple(_transform(model, layer) for layer in range(len(model.stack))),
        )
        _WEIGHTS[model] = (now, weights)
    return weights


def _projection(block: Block) -> Projection:
    operator = block.operator
    return packing.pack_projection(
        _pair(block.norm1), _pair(operator.in_proj), (operator.short_filter.weight, operator.short_filter.bias)
    )


def _transform(model: HyenaDNA, index: int) -> Transform:
    block = model.stack[index]
    return packing.pack_transform(
        _pair(block.operator.out_proj),
        _pair(block.norm2),
        _pair(block.mlp.fc1),
        _pair(block.mlp.fc2),
        _pair(model.norm),
        eps=NORM_EPS,
        next_eps=NORM_EPS if index + 1 < len(model.stack) else model.norm.eps,
    )


def _pair(module: nn.Linear | nn.LayerNorm) -> tuple[Tensor, Tensor]:
    return module.weight, module.bias


def _overflowing(model: HyenaDNA, ids: Tensor, kept: Kept) -> str:
    """Where numbers go beyond the range: computed once more, and looked at after every block."""
    with torch.no_grad():
        ids = _padded(ids)
        run = _Run(model, ids, kept)
        for layer in range(1, model.config.n_layer + 1):
            run.mix(layer)
            channels = (~run.mixed.isfinite()).any(dim=1).nonzero()
            if len(channels):
                return f"block {layer}: the convolution of channel {int(channels[0])}"
            run.transform(layer, final=False, onward=layer < model.config.n_layer)
            if run.bad[layer - 1]:
                return f"block {layer}: the stream behind the MLP"
    raise AssertionError("what overflowed once did not a second time")
