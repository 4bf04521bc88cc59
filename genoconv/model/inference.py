"""The fast path: token ids -> hidden states, layer by layer, without gradients and in bounded memory.

Each block passes twice over the stream x (B, L, d), in chunks of positions that stay in the cache:

    1. norm, projections, short filter, v * x1  ->  v and x0, kept channel-major (B, d, L)
       then the long filter in place on v, a few channels at a time, skip and gate x0 in the same step
    2. output projection, add, norm, MLP, add   ->  x, in place

So three tensors of B * L * d numbers are all that grows with the input. The numbers are those of `HyenaDNA.states`.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from genoconv.errors import ModelError, UsageError
from genoconv.kernels.sparsity import LEAST_KEPT, MOST_KEPT
from genoconv.model.block import Block
from genoconv.model.config import NORM_EPS, PAD, HyenaConfig
from genoconv.model.half import half_states
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.spectra import ALL, CACHE_BYTES, Kept, features_bytes, filter_bank, spectra_bytes, taps_at_a_time
from genoconv.model.stages import stage
from genoconv.model.workers import Workers

# Bytes of the widest intermediate of one chunk. CPU: of 1, 2, 4 and 8 MiB all were within 3%; the caches are shared.
_CHUNK_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}
_FINAL_ROWS = 4096
# What torch and MKL hold after their first use.
_LIBRARY_BYTES = 14 << 20


Precision = Literal["high", "half"]


def hidden_states(
    model: HyenaDNA,
    ids: Tensor,
    *,
    layers: Sequence[int] = (-1,),
    filter_length: int | None = None,
    frequencies: float = 1.0,
    precision: Precision = "high",
    overflowed: set[int] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Computes hidden states, and no block beyond the last one that is asked for.

    Args:
        model: In float32 (or float64), on the device of ids.
        ids: Token ids, (B, L) integers of any type (uint8 travels fastest), padded on the right: what stands behind a
            position never reaches it.
        layers: Which states: 0 the embedding, i the stream after block i, n_layer + 1 the state after the final norm;
            negative numbers count from the end.
        filter_length: Taps that the long filters are cut to; None keeps all l_max. Beyond l_max there are none.
        frequencies: Part of all frequencies that the long filters keep, the lowest: 1, or up to 0.4. Then bases look
            ahead as well, and tokens [PAD] count as nothing.
        precision: "high": float32 throughout. "half": float16 products with float32 sums around a float32 stream, by
            the fused kernels of a GPU (`genoconv.model.half`); the states differ by about 1e-3.
        overflowed: Takes the rows whose numbers half precision does not hold, and perhaps neighbours of them, instead
            of an error; their states mean nothing, those of the other rows are as ever.

    Yields:
        Layer (from 0) and its states (B, L, d), each layer once, in ascending order. The states are overwritten when
        the next ones are asked for, and must not be changed.

    Raises:
        UsageError: A layer that the model does not have, a filter length below 1, frequencies out of range.
        ModelError: The model is in half precision.
        HalfPrecisionOverflowError: Half precision does not hold the numbers, and nobody takes the rows.
    """
    wanted = set(layer_indices(model.config, layers))
    if filter_length is not None and filter_length < 1:
        raise UsageError(f"the filter length must be at least 1, not {filter_length}")
    if frequencies != 1.0 and not LEAST_KEPT <= frequencies <= MOST_KEPT:
        raise UsageError(
            f"filters keep all frequencies, or {LEAST_KEPT:.1%} to {MOST_KEPT:.0%} of them, not {frequencies:.1%}"
        )
    kept = Kept(filter_length, frequencies)
    if model.embedding.weight.dtype not in (torch.float32, torch.float64):
        raise ModelError("a model computes in float32: half precision loses the filters' positions")
    if precision == "half":
        return half_states(model, ids, wanted, kept, overflowed)
    return _hidden_states(model, ids.long(), wanted, kept)


def layer_indices(config: HyenaConfig, layers: Sequence[int]) -> tuple[int, ...]:
    """The layers, counted from 0, in the order given.

    Raises:
        UsageError: The model does not have so many.
    """
    count = config.n_layer + 2
    for layer in layers:
        if not -count <= layer < count:
            raise UsageError(
                f"the model has no layer {layer}",
                fix=f"choose from 0 (embedding), 1 to {config.n_layer} (blocks), {config.n_layer + 1} (final), "
                f"or -{count} to -1 counted from the end",
            )
    return tuple(layer % count for layer in layers)


def memory_per_base(config: HyenaConfig) -> int:
    """Bytes of activations per position of a padded batch: the stream, v and x0, and the token id."""
    return 3 * 4 * config.d_model + 8


def fixed_bytes(config: HyenaConfig, length: int, kept: Kept = ALL) -> int:
    """Bytes that a CPU run takes beside `memory_per_base` and the weights, for inputs of `length` tokens.

    Measured with 2 threads within 15% together with `memory_per_base`, from 8,000 to 1,000,000 tokens (below, up to
    50 MiB too much). Inputs of many different lengths may make the kept filters grow to `spectra.CACHE_BYTES`.
    """
    features = features_bytes(config, length, kept)
    taps = features // config.filter_order * config.d_model
    spectra = spectra_bytes(config, length, kept)
    workers = torch.get_num_threads()
    step = workers * max(4 << 20, 8 * length)  # spectra of one step of a convolution
    chunks = workers * 2 * _CHUNK_BYTES["cpu"]
    if spectra <= CACHE_BYTES:
        return spectra + features + taps + 8 * step + chunks + _LIBRARY_BYTES
    row = taps // config.d_model
    taps = min(taps, workers * row * taps_at_a_time(row // 4, workers))
    return features + taps + 12 * step + chunks + _LIBRARY_BYTES


def _hidden_states(model: HyenaDNA, ids: Tensor, wanted: set[int], kept: Kept) -> Iterator[tuple[int, Tensor]]:
    with torch.no_grad():
        x = model.embedding(ids)  # (B, L, d)
        bank = filter_bank(model)
    if 0 in wanted:
        yield 0, x
    if max(wanted):
        v, gate = (x.new_empty(x.shape[0], x.shape[2], x.shape[1]) for _ in range(2))  # (B, d, L)
        with Workers(x.device) as workers:
            chunks = _Chunks(x, model.config, workers)
            padding = None if kept.frequencies == 1.0 else (ids == PAD)[:, None]  # (B, 1, L)
            for layer, block in enumerate(model.stack[: max(wanted)], start=1):
                with stage("projections, gates", x.device):
                    workers.each(partial(_project, block, x, v, gate, chunks), chunks)
                    if padding is not None:
                        v.masked_fill_(padding, 0.0)
                with stage("convolution", x.device):
                    v = bank.convolve(model.config, layer, block.operator, v, gate, kept, workers)
                with stage("output projection, MLP", x.device):
                    workers.each(partial(_transform, block, x, v, chunks), chunks)
                if layer in wanted:
                    yield layer, x
        del v, gate, chunks
    if model.config.n_layer + 1 in wanted:
        with torch.no_grad():
            for stream in x.view(-1, x.shape[-1]).split(_FINAL_ROWS):
                stream.copy_(functional.layer_norm(stream, stream.shape[-1:], *_affine(model.norm), model.norm.eps))
        yield model.config.n_layer + 1, x


class _Chunks:
    """The chunks that the stream is cut into, and room for two intermediates of one, used again and again."""

    def __init__(self, x: Tensor, config: HyenaConfig, workers: Workers) -> None:
        self._x, self._local = x, workers.local
        width = max(3 * config.d_model, config.d_inner)
        step = _CHUNK_BYTES["cpu" if x.device.type == "cpu" else "cuda"] // (width * x.element_size())
        share = -(-x.shape[0] * x.shape[1] // workers.count)
        self._positions = max(16, min(step, share))
        self._room = 2 * (self._positions + 2) * width

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        """Rows and positions of the chunks: part of one row, or several rows whole if they are short."""
        B, L, _ = self._x.shape
        rows = max(1, self._positions // max(L, 1))
        for row in range(0, B, rows):
            for first in range(0, L, self._positions):
                yield slice(row, min(row + rows, B)), slice(first, min(first + self._positions, L))

    def pair(self, *shape: int) -> list[Tensor]:
        """Two tensors of a shape, holding anything; they are valid until this thread's next call."""
        if not hasattr(self._local, "room"):
            self._local.room = self._x.new_empty(2, self._room // 2)
        return [half[: math.prod(shape)].view(shape) for half in self._local.room]


def _project(block: Block, x: Tensor, v: Tensor, gate: Tensor, chunks: _Chunks, at: tuple[slice, slice]) -> None:
    """First sweep, one chunk: x (B, L, d) -> v * x1 into v, and x0 into gate, both (B, d, L)."""
    rows, positions = at
    operator, d = block.operator, x.shape[-1]
    two, one, now = operator.short_filter.weight[:, :, None].unbind(1)  # (3d, 1) each
    shift = operator.short_filter.bias[:, None]
    # The short filter looks back on two positions, which the chunk before had computed: again is cheaper than kept.
    halo = min(positions.start, 2)
    h = x[rows, positions.start - halo : positions.stop]
    b, c, _ = h.shape
    h = functional.layer_norm(h, (d,), *_affine(block.norm1), NORM_EPS).view(b * c, d)
    u, short = chunks.pair(3 * d, b * c)
    torch.addmm(operator.in_proj.bias[:, None], operator.in_proj.weight, h.t(), out=u)
    torch.mul(u, now, out=short).add_(shift)
    u, short = u.view(3 * d, b, c), short.view(3 * d, b, c)
    short[..., 1:].addcmul_(u[..., :-1], one[..., None])
    short[..., 2:].addcmul_(u[..., :-2], two[..., None])
    x0, x1, value = short[..., halo:].transpose(0, 1).chunk(3, dim=1)  # (b, d, c - halo) each
    torch.mul(value, x1, out=v[rows, :, positions])
    gate[rows, :, positions] = x0


def _transform(block: Block, x: Tensor, y: Tensor, chunks: _Chunks, at: tuple[slice, slice]) -> None:
    """Second sweep, one chunk: adds the projection of y (B, d, L) to x (B, L, d), then the MLP of the sum."""
    rows, positions = at
    out, fc1, fc2, d = block.operator.out_proj, block.mlp.fc1, block.mlp.fc2, x.shape[-1]
    stream = x[rows, positions].view(-1, d)
    mixed = y[rows, :, positions].transpose(1, 2).reshape(-1, d)
    stream.addmm_(mixed, out.weight.t()).add_(out.bias)
    h = functional.layer_norm(stream, (d,), *_affine(block.norm2), NORM_EPS)
    hidden, spare = chunks.pair(len(stream), fc1.out_features)
    torch.addmm(fc1.bias, h, fc1.weight.t(), out=hidden)
    stream.addmm_(_gelu(hidden, spare), fc2.weight.t()).add_(fc2.bias)


def _gelu(x: Tensor, spare: Tensor) -> Tensor:
    """GELU in its tanh form, into `spare`, as x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)).

    Measured with torch 2.13 on one core of an AMD EPYC (Zen 4): 0.7 ns a number; torch's own takes 1.65.
    """
    torch.mul(x, x, out=spare)
    torch.addcmul(x, spare, x, value=0.044715, out=spare)
    return spare.mul_(2 * math.sqrt(2 / math.pi)).sigmoid_().mul_(x)


def _affine(norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    return norm.weight, norm.bias
