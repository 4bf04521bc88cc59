"""The fast path: token ids -> hidden states, layer by layer, without gradients and in bounded memory.

Each block passes twice over the stream x (B, L, d), in chunks of positions that stay in the cache:

    1. norm, projections, short filter, v * x1  ->  v and x0, kept channel-major (B, d, L)
       (in the first block of the few tokens that there are, instead of every position)
       then the long filter in place on v, a few channels at a time, skip and gate x0 in the same step
    2. output projection, add, norm, MLP, add   ->  x, in place

So three tensors of B * L * d numbers are all that grows with the input. The numbers are those of `HyenaDNA.states`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from genoconv.errors import ModelError, UsageError
from genoconv.kernels.sparsity import LEAST_KEPT, MOST_KEPT
from genoconv.model.block import Block
from genoconv.model.config import NORM_EPS, PAD, HyenaConfig
from genoconv.model.half import by_kernels, half_states
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.operator import HyenaOperator
from genoconv.model.products import BLOCK, HALF, Product, across
from genoconv.model.spectra import ALL, Kept, features_bytes, filter_bank, keeps, spectra_bytes, taps_at_a_time
from genoconv.model.stages import stage
from genoconv.model.workers import Workers

# Bytes of the widest intermediate of one chunk. CPU: of 1, 2, 4 and 8 MiB all were within 3%; the caches are shared.
_CHUNK_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}
_FINAL_ROWS = 4096
# Blocks of positions from which on it is worth while to pack the weights.
_MANY_BLOCKS = 4
# What torch, MKL and oneDNN hold after their first use.
_LIBRARY_BYTES = 16 << 20


# Numbers of a line of the caches.
_LINE = 16

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
    unchecked: list[Tensor] | None = None,
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
        precision: "high": float32 throughout. "half": half precision around a float32 stream; the states differ by 1e-3
            to 2e-3. On a GPU by fused float16 kernels (`genoconv.model.half`); on a CPU operands and results of most
            products with weights are bfloat16 (`genoconv.model.products`), with float32 sums; all else is float32.
        overflowed: Takes the rows whose numbers half precision does not hold, and perhaps neighbours of them, instead
            of an error; their states mean nothing, those of the other rows are as ever.
        unchecked: Takes integers (n,) of the device, instead of a look at them, which waits for it: where some of them
            are not 0 before the next states of this model are asked for, half precision does not hold the numbers.

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
    if precision == "half" and by_kernels(ids.device):
        return half_states(model, ids, wanted, kept, overflowed, unchecked)
    return _hidden_states(model, ids.long(), wanted, kept, half=precision == "half")


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


def fixed_bytes(
    config: HyenaConfig, length: int, kept: Kept = ALL, *, rows: int = 1, device: torch.device | str = "cpu"
) -> int:
    """Bytes that a run takes beside `memory_per_base` and the weights, for rows of `length` tokens.

    Measured on a CPU with 2 threads within 15% together with `memory_per_base`, from 1,000 to 1,000,000 tokens (for few
    and narrow ones 15 MiB too much). Inputs of many lengths may make kept filters grow to `spectra.CACHE_BYTES`.
    """
    features = features_bytes(config, length, kept)
    row = features // config.filter_order  # taps of one channel
    workers = torch.get_num_threads()
    step = workers * max(1 << 20, 8 * length)  # spectra of one step of a convolution
    chunks = workers * 4 * _CHUNK_BYTES["cpu"]
    if keeps(config, rows, length, kept, device):
        spectra = spectra_bytes(config, length, kept, device)
        return spectra + features + config.d_model * row + 6 * step + chunks + _LIBRARY_BYTES
    taps = row * min(config.d_model, workers * taps_at_a_time(row // 4, workers))
    return features + taps + 10 * step + chunks + _LIBRARY_BYTES


def _hidden_states(
    model: HyenaDNA, ids: Tensor, wanted: set[int], kept: Kept, *, half: bool
) -> Iterator[tuple[int, Tensor]]:
    bank, table = filter_bank(model), model.embedding.weight
    x = table.new_empty(*ids.shape, model.config.d_model)  # (B, L, d)
    with Workers(x.device) as workers:
        chunks = _Chunks(x, model.config, workers)
        workers.each(partial(_embed, table, ids, x), chunks)
        if 0 in wanted:
            yield 0, x
        v, gate = _channels(x), _channels(x)
        padding = None if kept.frequencies == 1.0 else (ids == PAD)[:, None]  # (B, 1, L)
        for layer, block in enumerate(model.stack[: max(wanted)], start=1):
            with torch.no_grad():
                source = _stream(block, x, half) if layer > 1 else _tokens(block, table, ids)
                short_filter = _ShortFilter(block.operator)
                products = _products(block, pack=ids.numel() >= _MANY_BLOCKS * BLOCK, half=half)
            with stage("projections, gates", x.device):
                workers.each(partial(_project, short_filter, source, v, gate, chunks.usual), chunks)
                if padding is not None:
                    v.masked_fill_(padding, 0.0)
            with stage("convolution", x.device):
                v = bank.convolve(model.config, layer, block.operator, v, gate, kept, workers)
            with stage("output projection, MLP", x.device):
                workers.each(partial(_transform, products, block.norm2, x, v), chunks)
            if layer in wanted:
                yield layer, x
        del v, gate, chunks
    if model.config.n_layer + 1 in wanted:
        with torch.no_grad():
            for stream in torch.split(x.view(-1, x.shape[-1]), _FINAL_ROWS):
                stream.copy_(functional.layer_norm(stream, stream.shape[-1:], *_affine(model.norm), model.norm.eps))
        yield model.config.n_layer + 1, x


def _channels(x: Tensor) -> Tensor:
    """Room for the channels of a stream x (B, L, d): (B, d, L).

    Rows are a little longer than they have to be: a power of two apart, the numbers of a position get into each other's
    way in the caches, and the products that read them take 14% longer.
    """
    B, L, d = x.shape
    return x.new_empty(B, d, -(-L // _LINE) * _LINE + _LINE)[..., :L]


class _Chunks:
    """The chunks that the stream (B, L, d) is cut into.

    Attributes:
        usual: Positions of most chunks of a long row, for rows of any length.
    """

    def __init__(self, x: Tensor, config: HyenaConfig, workers: Workers) -> None:
        self._rows, self._length = x.shape[:2]
        width = max(3 * config.d_model, config.d_inner)
        step = _CHUNK_BYTES["cpu" if x.device.type == "cpu" else "cuda"] // (width * x.element_size())
        self.usual = step // BLOCK * BLOCK or step
        share = -(-x.shape[0] * x.shape[1] // workers.count)
        self._positions = max(16, min(self.usual, share))

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        """Rows and positions of the chunks: part of one row, or several rows whole if they are short."""
        rows = max(1, self._positions // max(self._length, 1))
        for row in range(0, self._rows, rows):
            for first in range(0, self._length, self._positions):
                yield slice(row, min(row + rows, self._rows)), slice(first, min(first + self._positions, self._length))


def _embed(table: Tensor, ids: Tensor, x: Tensor, at: tuple[slice, slice]) -> None:
    """One chunk: rows of the table (V, d) for token ids (B, L), into x (B, L, d)."""
    torch.index_select(table, 0, ids[at].reshape(-1), out=x[at].view(-1, x.shape[-1]))


def _project(
    short_filter: "_ShortFilter", source: "_Source", v: Tensor, gate: Tensor, usual: int, at: tuple[slice, slice]
) -> None:
    """First sweep, one chunk: from what the projections are of -> v * x1 into v, and x0 into gate, both (B, d, L)."""
    rows, span = at
    d = v.shape[1]
    # The short filter looks back on two positions, which the chunk before had computed: again is cheaper than kept.
    halo = min(span.start, 2)
    h = source.take(rows, slice(span.start - halo, span.stop))  # (b, c, k)
    b, c, k = h.shape
    u = across(source.weight, h.view(b * c, k), common=c - halo == usual).view(3 * d, b, c)
    x0, x1, value = short_filter(u, starts=halo == 0)[..., halo:].transpose(0, 1).chunk(3, dim=1)
    torch.mul(value, x1, out=v[rows, :, span])  # of (b, d, c - halo) each
    gate[rows, :, span] = x0


class _Source(NamedTuple):
    """What the projections are of: numbers `take(rows, positions)` (b, c, k), and the weight (3d, k) to them."""

    take: Callable[[slice, slice], Tensor]
    weight: Tensor


def _stream(block: Block, x: Tensor, half: bool) -> _Source:
    """The stream x (B, L, d), normalised."""
    weight = block.operator.in_proj.weight

    def take(rows: slice, span: slice) -> Tensor:
        return functional.layer_norm(x[rows, span], x.shape[-1:], *_affine(block.norm1), NORM_EPS)

    return _Source(take, weight.to(HALF) if half else weight)


def _tokens(block: Block, embedding: Tensor, ids: Tensor) -> _Source:
    """The tokens' own: in the first block, few different positions are projected, those of `embedding` (V, d)."""
    one_hot = torch.eye(len(embedding), dtype=embedding.dtype, device=embedding.device)
    normed = functional.layer_norm(embedding, embedding.shape[-1:], *_affine(block.norm1), NORM_EPS)
    return _Source(lambda rows, span: one_hot[ids[rows, span]], block.operator.in_proj.weight.mm(normed.t()))


class _ShortFilter:
    """The short filter of an operator, with the projection's bias: made once a layer, for any chunk.

    Args:
        operator: The operator.
    """

    def __init__(self, operator: HyenaOperator) -> None:
        weight, bias = operator.short_filter.weight, operator.in_proj.bias[:, None, None]
        self._two, self._one, self._now = weight[..., None, None].unbind(1)  # (3d, 1, 1) each
        self._constant = operator.short_filter.bias[:, None, None] + bias * weight.sum(1)[:, None, None]
        # Before a row there is nothing, and no bias either: so much too much have its first two positions.
        self._first, self._second = bias * (self._two + self._one), bias * self._two

    def __call__(self, u: Tensor, *, starts: bool) -> Tensor:
        """The filtered projections u (3d, B, c) of no bias; the first two of c are right if rows start there."""
        y = (u * self._now).add_(self._constant)
        y[..., 1:].addcmul_(u[..., :-1], self._one)
        y[..., 2:].addcmul_(u[..., :-2], self._two)
        if starts:
            y[..., :1] -= self._first
            y[..., 1:2] -= self._second
        return y


def _transform(
    products: tuple[nn.Linear, Product, Product], norm: nn.LayerNorm, x: Tensor, y: Tensor, at: tuple[slice, slice]
) -> None:
    """Second sweep, one chunk: adds the projection of y (B, d, L) to x (B, L, d), then the MLP of the sum."""
    rows, positions = at
    out, fc1, fc2 = products
    d = x.shape[-1]
    stream = x[rows, positions].view(-1, d)
    mixed = y[rows, :, positions].transpose(1, 2).reshape(-1, d)  # one row: as it lies, which products of MKL can read
    stream.addmm_(mixed, out.weight.t()).add_(out.bias)
    for part in torch.split(stream, BLOCK):
        part.add_(fc2(fc1(functional.layer_norm(part, (d,), *_affine(norm), NORM_EPS))))


def _products(block: Block, *, pack: bool, half: bool) -> tuple[nn.Linear, Product, Product]:
    """The output projection, always in float32, and both of the MLP; not by the workers, whose heaps would grow by 15%.

    Rounding the output projection's operands alone moves the states by up to 2.5e-3, all the others by 1.5e-3 together.
    """
    fc1, fc2 = block.mlp.fc1, block.mlp.fc2
    return block.operator.out_proj, Product(fc1, gelu=True, pack=pack, half=half), Product(fc2, pack=pack, half=half)


def _affine(norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    return norm.weight, norm.bias
