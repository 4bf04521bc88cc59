"""The Hyena operator of order 2: (B, L, d) -> projections -> short filter -> gate, long filter, gate -> (B, L, d)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from genoconv.kernels.fftconv import fftconv
from genoconv.model.config import HyenaConfig
from genoconv.model.filter import ImplicitFilter, Positions


class HyenaOperator(nn.Module):
    """Mixes along the sequence: two gates around a causal convolution as long as the sequence."""

    def __init__(self, config: HyenaConfig, positions: Positions) -> None:
        super().__init__()
        d = config.d_model
        self.in_proj = nn.Linear(d, 3 * d)
        self.short_filter = ShortFilter(3 * d)
        self.long_filter = ImplicitFilter(config, positions)
        self.skip = nn.Parameter(torch.randn(d))
        self.out_proj = nn.Linear(d, d)

    def forward(self, x: Tensor, filter_length: int | None = None) -> Tensor:
        """Mixes x (B, L, d), with the long filter cut to `filter_length` taps."""
        taps = self.long_filter(count_taps(self.long_filter.positions.z.shape[0], x.shape[1], filter_length))
        u = self.short_filter(self.in_proj(x).transpose(1, 2))  # (B, 3d, L)
        x0, x1, v = u.chunk(3, dim=1)  # (B, d, L) each
        y = fftconv(v, taps, self.skip, in_gate=x1, out_gate=x0)
        mixed: Tensor = self.out_proj(y.transpose(1, 2))
        return mixed


class ShortFilter(nn.Module):
    """A causal convolution of every channel with three taps of its own; the last tap meets the current position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 3).uniform_(-(3**-0.5), 3**-0.5))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-(3**-0.5), 3**-0.5))

    def forward(self, u: Tensor) -> Tensor:
        """Filters u (B, channels, L); three products are several times faster than torch's depthwise Conv1d."""
        L = u.shape[-1]
        earlier = functional.pad(u, (2, 0))
        two, one, now = self.weight[:, :, None].unbind(1)  # (channels, 1) each
        return two * earlier[..., :L] + one * earlier[..., 1 : L + 1] + now * u + self.bias[:, None]


def count_taps(l_max: int, length: int, filter_length: int | None) -> int:
    """Taps that matter for an input of `length` tokens: at most l_max (zeros follow), cut to filter_length."""
    return min(l_max, length, l_max if filter_length is None else filter_length)
