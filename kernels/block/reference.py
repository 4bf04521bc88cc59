"""The fused kernels in plain torch, in any dtype: what they are tested against."""

import torch
from torch import Tensor
from torch.nn import functional

from genoconv.kernels.block.packing import Projection, Transform


def gates(u: Tensor, projection: Projection, *, row: int) -> tuple[Tensor, Tensor]:
    """Projections u (3 d, P), without their bias -> v * x1 and x0, both (d, P); rows of `row` positions."""
    taps = projection.taps.to(u.dtype)[:, :, None, None]  # (3 d, 6, 1, 1)
    u = u.view(len(u), -1, row)  # (3 d, B, row)
    earlier = functional.pad(u, (2, 0))
    short = taps[:, 0] * earlier[..., :row] + taps[:, 1] * earlier[..., 1:-1] + taps[:, 2] * u + taps[:, 3]
    short[..., :1] += taps[:, 4]
    short[..., 1:2] += taps[:, 5]
    x0, x1, v = short.flatten(1).chunk(3)
    return v * x1, x0


def transform(x: Tensor, y: Tensor, weights: Transform) -> tuple[Tensor, Tensor, Tensor]:
    """Stream x (P, d), signals y (d, P) -> the stream after the block, that normalised, and that by the final norm."""
    d, width = weights.d, weights.width
    out, fc1, fc2, bias = (t.to(x.dtype) for t in (weights.out, weights.fc1, weights.fc2, weights.bias))
    b_out, b_2, scale, shift = bias[: 4 * width].view(4, width)[:, :d]
    x = x + y.t().to(x.dtype) @ out[:d, :d] + b_out
    hidden = functional.layer_norm(x, (d,), eps=weights.eps) @ fc1[:d] + bias[4 * width :]
    x = x + 2.0 * functional.gelu(hidden, approximate="tanh") @ fc2[:, :d] + b_2
    following = functional.layer_norm(x, (d,), eps=weights.next_eps)
    return x, following, following * scale + shift


def normalised(table: Tensor, eps: float) -> Tensor:
    """Rows of a table (n, d), normalised without weight and bias, as float16."""
    return functional.layer_norm(table.double(), table.shape[1:], eps=eps).to(torch.float16)
