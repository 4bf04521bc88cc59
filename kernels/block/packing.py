"""Parameters of a block -> what the kernels read: float16, padded, with what can be computed before folded in."""

from dataclasses import dataclass

import torch
from torch import Tensor

HIDDEN_STEP = 32
"""The MLP's hidden layer is computed so many of its columns at a time, and padded to a multiple."""

NARROWEST = 64
"""Columns of the narrowest padded stream: the tile that tensor cores like."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Norm, input projection and short filter of a block, for signals of d channels.

    Attributes:
        weight: (3 d, d) float16, of the normalised stream: the norm's own weight is folded in.
        taps: (3 d, 6) float32: the short filter's taps for two positions back, one back and now, then what is added:
            everywhere, at position 0 only, and at position 1 only (the filter reaches before the start there, where the
            projection's bias does not act).
    """

    weight: Tensor
    taps: Tensor


@dataclass(frozen=True, slots=True)
class Transform:
    """Output projection, norm and MLP of a block, and the norm behind it.

    Attributes:
        out: (width, width) float16, (in, out): of the output projection.
        fc1: (width, inner) float16, with the weight of the norm before it.
        fc2: (inner, width) float16, halved: the kernel computes 2 GELU.
        bias: Float32: of the output projection and of fc2, weight and bias of the final norm (width each), of fc1.
        d: Channels; `width` is the power of two that holds them.
        eps: Of the norm before the MLP.
        next_eps: Of the norm behind the block.
    """

    out: Tensor
    fc1: Tensor
    fc2: Tensor
    bias: Tensor
    d: int
    eps: float
    next_eps: float

    @property
    def width(self) -> int:
        """Columns of the padded stream."""
        return self.out.shape[0]

    @property
    def inner(self) -> int:
        """Columns of the padded hidden layer."""
        return self.fc1.shape[1]


def pack_projection(
    norm: tuple[Tensor, Tensor], linear: tuple[Tensor, Tensor], short: tuple[Tensor, Tensor]
) -> Projection:
    """Packs weight and bias of the norm (d), of the projection (3 d, d), and of the short filter (3 d, 3).

    Exact up to the rounding to float16: sums are made in float64.
    """
    (gamma, beta), (weight, bias), (taps, shift) = (
        tuple(t.detach().double() for t in pair) for pair in (norm, linear, short)
    )
    bias = bias + weight @ beta
    two, one, now = taps.unbind(1)
    everywhere = shift + bias * (two + one + now)
    columns = (two, one, now, everywhere, -bias * (two + one), -bias * two)
    return Projection((weight * gamma).half(), torch.stack(columns, 1).float().contiguous())


def pack_transform(
    out: tuple[Tensor, Tensor],
    norm: tuple[Tensor, Tensor],
    fc1: tuple[Tensor, Tensor],
    fc2: tuple[Tensor, Tensor],
    final: tuple[Tensor, Tensor],
    *,
    eps: float,
    next_eps: float,
) -> Transform:
    """Packs weight and bias of the output projection, the norm, fc1, fc2 and the model's final norm."""
    pairs = [tuple(t.detach().double() for t in pair) for pair in (out, norm, fc1, fc2, final)]
    (w_out, b_out), (gamma, beta), (w_1, b_1), (w_2, b_2), (scale, shift) = pairs
    d, inner = len(gamma), -(-len(b_1) // HIDDEN_STEP) * HIDDEN_STEP
    width = max(NARROWEST, 1 << (d - 1).bit_length())
    vectors = [_padded(v, width) for v in (b_out, b_2, scale, shift)] + [_padded(b_1 + w_1 @ beta, inner)]
    return Transform(
        out=_padded(w_out.t(), width, width).half(),
        fc1=_padded((w_1 * gamma).t(), width, inner).half(),
        fc2=_padded(0.5 * w_2.t(), inner, width).half(),
        bias=torch.cat(vectors).float(),
        d=d,
        eps=eps,
        next_eps=next_eps,
    )


def _padded(x: Tensor, *shape: int) -> Tensor:
    """X in the corner of zeros."""
    padded = x.new_zeros(shape)
    padded[tuple(slice(0, size) for size in x.shape)] = x
    return padded
