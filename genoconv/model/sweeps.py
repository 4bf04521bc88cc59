"""The sweeps of a block over the stream, chunk by chunk: numbers of one chunk in, those of the same chunk out.

What is computed of a chunk runs without Python's lock where several threads share the chunks out.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from genoconv.kernels.scripts import without_lock
from genoconv.model.block import Block
from genoconv.model.config import NORM_EPS
from genoconv.model.operator import HyenaOperator
from genoconv.model.products import HALF, Factor, Product, across, by_onednn, multiply


def embed(table: Tensor, ids: Tensor, x: Tensor, at: tuple[slice, slice]) -> None:
    """One chunk: rows of the table (V, d) for token ids (B, L), into x (B, L, d)."""
    rows, span = at
    _embed_chunk(table, ids, x, rows.start, rows.stop, span.start, span.stop)


@without_lock
def _embed_chunk(table: Tensor, ids: Tensor, x: Tensor, row: int, row_end: int, first: int, last: int) -> None:
    out = x[row:row_end, first:last].view(-1, x.shape[-1])
    torch.index_select(table, 0, ids[row:row_end, first:last].reshape(-1), out=out)


class Source(NamedTuple):
    """What the projections are of: rows of a table for token ids, or, without ids, the stream to be normalised.

    Attributes:
        numbers: The stream (B, L, k), or the table (V, k).
        ids: (B, L), or None.
        scale: Of the norm, (k,).
        shift: Of the norm, (k,).
        weight: (3d, k).
        onednn: Whether oneDNN multiplies with it.
    """

    numbers: Tensor
    ids: Tensor | None
    scale: Tensor
    shift: Tensor
    weight: Tensor
    onednn: bool


def stream_source(block: Block, x: Tensor, half: bool) -> Source:
    """The stream x (B, L, d), normalised."""
    weight = block.operator.in_proj.weight
    weight = weight.to(HALF) if half else weight
    return Source(x, None, *_affine(block.norm1), weight, by_onednn(weight))


def token_source(block: Block, embedding: Tensor, ids: Tensor) -> Source:
    """The tokens' own: in the first block, few different positions are projected, those of `embedding` (V, d)."""
    one_hot = torch.eye(len(embedding), dtype=embedding.dtype, device=embedding.device)
    normed = functional.layer_norm(embedding, embedding.shape[-1:], *_affine(block.norm1), NORM_EPS)
    weight = block.operator.in_proj.weight.mm(normed.t())
    return Source(one_hot, ids, *_affine(block.norm1), weight, by_onednn(weight))


class ShortFilter(NamedTuple):
    """The short filter of an operator, with the projection's bias, for any chunk.

    Attributes:
        two: Taps that meet the position two before, (3d, 1, 1); one and now: the next two.
        constant: What is added to every position, and is too much at a row's first two: there was nothing, and no bias
            either, before it.
        first: By so much too much.
        second: By so much too much.
    """

    two: Tensor
    one: Tensor
    now: Tensor
    constant: Tensor
    first: Tensor
    second: Tensor


def _short_filter(operator: HyenaOperator) -> ShortFilter:
    weight, bias = operator.short_filter.weight, operator.in_proj.bias[:, None, None]
    two, one, now = weight[..., None, None].unbind(1)
    constant = operator.short_filter.bias[:, None, None] + bias * weight.sum(1)[:, None, None]
    return ShortFilter(two, one, now, constant, bias * (two + one), bias * two)


def front(operator: HyenaOperator, source: Callable[[], Source]) -> tuple[ShortFilter, Source]:
    """What the first sweep of a block needs."""
    return _short_filter(operator), source()


def project(
    short_filter: ShortFilter, source: Source, v: Tensor, gate: Tensor, usual: int, at: tuple[slice, slice]
) -> None:
    """First sweep, one chunk: from what the projections are of -> v * x1 into v, and x0 into gate, both (B, d, L)."""
    rows, span = at
    # The short filter looks back on two positions, which the chunk before had computed: again is cheaper than kept.
    halo = min(span.start, 2)
    common = span.stop - span.start == usual
    _project_chunk(v, gate, source, short_filter, rows.start, rows.stop, span.start, span.stop, halo, common, NORM_EPS)


@without_lock
def _project_chunk(
    v: Tensor, gate: Tensor, source: Source, short_filter: ShortFilter, row: int, row_end: int, first: int, last: int,
    halo: int, common: bool, eps: float,
) -> None:  # fmt: skip
    """What is written of v and gate (B, d, L): rows, and positions, which `halo` others before them reach."""
    v, gate = v[row:row_end, :, first:last], gate[row:row_end, :, first:last]
    ids = source.ids
    if ids is not None:
        h = source.numbers[ids[row:row_end, first - halo : last]]
    else:
        stream = source.numbers[row:row_end, first - halo : last]
        h = functional.layer_norm(stream, stream.shape[-1:], source.scale, source.shift, eps)
    b, c, k = h.shape
    h, d = h.view(b * c, k), v.shape[1]
    # The three parts one after the other: less of them at a time, which stays in the cache of a core.
    for p in range(3):
        at, to = p * d, (p + 1) * d
        u = across(source.weight[at:to], h, common, source.onednn).view(d, b, c)
        y = (u * short_filter.now[at:to]).add_(short_filter.constant[at:to])
        y[..., 1:].addcmul_(u[..., :-1], short_filter.one[at:to])
        y[..., 2:].addcmul_(u[..., :-2], short_filter.two[at:to])
        if halo == 0:
            y[..., :1] -= short_filter.first[at:to]
            y[..., 1:2] -= short_filter.second[at:to]
        y = y[..., halo:].transpose(0, 1)
        if p == 0:
            gate.copy_(y)
        elif p == 1:
            v.copy_(y)
        else:
            v.mul_(y)


class Mixer(NamedTuple):
    """What the second sweep multiplies with: weight (d, d) and bias of the output projection, both steps of the MLP."""

    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor
    fc1: Factor
    fc2: Factor


def transform(mixer: Mixer, x: Tensor, y: Tensor, block: int, at: tuple[slice, slice]) -> None:
    """Second sweep, one chunk: adds the projection of y (B, d, L) to x (B, L, d), then the MLP of the sum."""
    rows, positions = at
    _transform_chunk(x, y, mixer, rows.start, rows.stop, positions.start, positions.stop, block, NORM_EPS)


@without_lock
def _transform_chunk(
    x: Tensor, y: Tensor, mixer: Mixer, row: int, row_end: int, first: int, last: int, block: int, eps: float
) -> None:
    d = x.shape[-1]
    stream = x[row:row_end, first:last].view(-1, d)
    # One row: as it lies, which products of MKL can read.
    mixed = y[row:row_end, :, first:last].transpose(1, 2).reshape(-1, d)
    stream.addmm_(mixed, mixer.weight.t()).add_(mixer.bias)
    for part in torch.split(stream, block):
        h = functional.layer_norm(part, [d], mixer.scale, mixer.shift, eps)
        part.add_(multiply(multiply(h, mixer.fc1, block), mixer.fc2, block))


def mixer(block: Block, *, pack: bool, half: bool) -> Mixer:
    """The output projection, always in float32, and both of the MLP.

    Rounding the output projection's operands alone moves the states by up to 2.5e-3, all the others by 1.5e-3 together.
    """
    out, fc1, fc2 = block.operator.out_proj, block.mlp.fc1, block.mlp.fc2
    products = Product(fc1, gelu=True, pack=pack, half=half), Product(fc2, pack=pack, half=half)
    return Mixer(out.weight, out.bias, *_affine(block.norm2), *(product.factor for product in products))


def _affine(norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    return norm.weight, norm.bias


def normalise(norm: nn.LayerNorm, x: Tensor, at: tuple[slice, slice]) -> None:
    """One chunk of the stream x (B, L, d), normalised in place."""
    rows, span = at
    _normalise_chunk(x, *_affine(norm), rows.start, rows.stop, span.start, span.stop, norm.eps)


@without_lock
def _normalise_chunk(
    x: Tensor, scale: Tensor, shift: Tensor, row: int, row_end: int, first: int, last: int, eps: float
) -> None:
    part = x[row:row_end, first:last]
    part.copy_(functional.layer_norm(part, part.shape[-1:], scale, shift, eps))
