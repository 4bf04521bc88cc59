"""Products with a weight that also change the layout, the stream (B, L, d) to channels (B, c, L) and back; look-ups.

The stream is normalised position by position, the convolution runs along channels. A product may read and write either
layout at no cost, forwards and backwards, if it is asked for so; left to themselves, torch's gradients of a product
have the layout of its other operand, and are copied, which took 8% of a training step.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def to_channels(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A weight (c, d) times every position of x (B, L, d), plus bias (c): (B, c, L)."""
    y: Tensor = _ToChannels.apply(*_working(x, weight))  # type: ignore[no-untyped-call]
    return y + bias.to(y.dtype)[:, None]


def to_positions(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A weight (d, c) times every position of x (B, c, L), plus bias (d): (B, L, d)."""
    y: Tensor = _ToPositions.apply(*_working(x, weight))  # type: ignore[no-untyped-call]
    return y + bias.to(y.dtype)


def rows_of(weight: Tensor, ids: Tensor) -> Tensor:
    """The rows of weight (V, d) that ids (B, L) name, (B, L, d); few rows, whose gradients come out the same each time.

    torch adds up an embedding's gradient on a GPU in whatever order its threads come.
    """
    rows: Tensor = _RowsOf.apply(weight, ids)  # type: ignore[no-untyped-call]
    return rows


class _RowsOf(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, weight: Tensor, ids: Tensor) -> Tensor:
        context.save_for_backward(ids)
        context.rows = len(weight)
        return functional.embedding(ids, weight)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (ids,) = context.saved_tensors
        (dy,) = gradients
        which = torch.arange(context.rows, device=ids.device)[:, None] == ids.flatten()  # (V, B * L)
        return which.to(dy.dtype).mm(dy.flatten(0, 1)), None


class _ToChannels(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        return weight.expand(len(x), -1, -1).bmm(x.transpose(1, 2))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = context.saved_tensors
        (dy,) = gradients  # (B, c, L)
        return dy.transpose(1, 2).bmm(weight.expand(len(x), -1, -1)), dy.bmm(x).sum(0)


class _ToPositions(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        return x.transpose(1, 2).bmm(weight.t().expand(len(x), -1, -1))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = context.saved_tensors
        (dy,) = gradients  # (B, L, d)
        across = dy.transpose(1, 2)
        return weight.t().expand(len(x), -1, -1).bmm(across), across.bmm(x.transpose(1, 2)).sum(0)


def _working(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the dtype that autocast asks of products."""
    if not torch.is_autocast_enabled(x.device.type):
        return x, weight
    dtype = torch.get_autocast_dtype(x.device.type)
    return x.to(dtype), weight.to(dtype)
