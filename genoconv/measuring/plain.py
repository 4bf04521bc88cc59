"""HyenaDNA in plain torch, as upstream writes it: token ids -> final states. What the fast path is measured against."""

import torch
from torch import Tensor
from torch.nn import functional

from genoconv.model.block import Block
from genoconv.model.filter import ImplicitFilter
from genoconv.model.hyenadna import HyenaDNA


def plain_states(model: HyenaDNA, ids: Tensor) -> Tensor:
    """Final states (B, L, d), every operation on whole tensors, filters made anew in each layer.

    Differentiable; under autocast only transforms and filters stay in float32.
    """
    x = model.embedding(ids)
    for block in model.stack:
        x = x + plain_operator(block, block.norm1(x))
        x = x + block.mlp(block.norm2(x))
    states: Tensor = model.norm(x)
    return states


def plain_operator(block: Block, x: Tensor) -> Tensor:
    """The Hyena operator with torch's depthwise convolution and transforms of twice the length."""
    operator, L = block.operator, x.shape[1]
    u = operator.in_proj(x).transpose(1, 2)
    short = operator.short_filter
    u = functional.conv1d(u, short.weight[:, None], short.bias, padding=2, groups=u.shape[1])[..., :L]
    x0, x1, v = u.chunk(3, dim=1)
    v = (v * x1).float()
    with torch.autocast(x.device.type, enabled=False):  # half precision loses the filters' positions
        spectrum = torch.fft.rfft(plain_filter(operator.long_filter, L), n=2 * L) / (2 * L)
        y = torch.fft.irfft(torch.fft.rfft(v, n=2 * L) * spectrum, n=2 * L, norm="forward")[..., :L]
    y = (y + v * operator.skip[:, None]).to(u.dtype)
    mixed: Tensor = operator.out_proj((y * x0).transpose(1, 2))
    return mixed


def plain_filter(long_filter: ImplicitFilter, length: int) -> Tensor:
    """The taps, (d, at most L), laid out as upstream does: position by position."""
    h = long_filter.positions.z[:length]
    for linear in long_filter.inner:
        h = torch.sin(long_filter.freq * linear(h))
    window = torch.exp(-long_filter.positions.t[:length] * long_filter.deltas.abs()) + long_filter.shift
    taps: Tensor = long_filter.outer(h) * window
    return taps.t()
