"""The Hyena operator of order 2: (B, L, d) -> projections -> short filter -> gate, long filter, gate -> (B, L, d)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from genoconv.kernels.fftconv import fftconv
from genoconv.model.config import HyenaConfig
from genoconv.model.filter import ImplicitFilter, Positions
from genoconv.model.projections import to_channels, to_positions


class HyenaOperator(nn.Module):
    """Mixes along the sequence: two gates around a causal convolution as long as the sequence.

    Three steps, so that what surrounds the convolution can be fused with its neighbours: enter, convolve, leave.
    """

    def __init__(self, config: HyenaConfig, positions: Positions) -> None:
        super().__init__()
        d = config.d_model
        self.in_proj = nn.Linear(d, 3 * d)
        self.short_filter = ShortFilter(3 * d)
        self.long_filter = ImplicitFilter(config, positions)
        self.skip = nn.Parameter(torch.randn(d))
        self.out_proj = nn.Linear(d, d)

    def enter(self, x: Tensor) -> Tensor:
        """The gates and the signal x0, x1 and v, one below the other, (B, 3d, L)."""
        u: Tensor = self.short_filter(to_channels(x, self.in_proj.weight, self.in_proj.bias))
        return u

    def convolve(self, u: Tensor, filter_length: int | None) -> Tensor:
        """Gate, long filter, gate: (B, d, L)."""
        taps = self.long_filter(count_taps(self.long_filter.positions.z.shape[0], u.shape[2], filter_length))
        x0, x1, v = u.chunk(3, dim=1)
        # Not waiting for the device at every layer: what is not finite shows in the loss.
        return fftconv(v, taps, self.skip, in_gate=x1, out_gate=x0, check=False)

    def leave(self, y: Tensor) -> Tensor:
        """What is added to the stream, (B, L, d)."""
        return to_positions(y, self.out_proj.weight, self.out_proj.bias)


class ShortFilter(nn.Module):
    """A causal convolution of every channel with three taps of its own; the last tap meets the current position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 3).uniform_(-(3**-0.5), 3**-0.5))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-(3**-0.5), 3**-0.5))

    def forward(self, u: Tensor) -> Tensor:
        """Filters u (B, channels, L); three products are several times faster than torch's depthwise Conv1d.

        Computed in the weights' precision, returned in that of u.
        """
        L = u.shape[-1]
        earlier = functional.pad(u, (2, 0))
        two, one, now = self.weight[:, :, None].unbind(1)  # (channels, 1) each
        return (two * earlier[..., :L] + one * earlier[..., 1 : L + 1] + now * u + self.bias[:, None]).to(u.dtype)


def count_taps(l_max: int, length: int, filter_length: int | None) -> int:
    """Taps that matter for an input of `length` tokens: at most l_max (zeros follow), cut to filter_length."""
    return min(l_max, length, l_max if filter_length is None else filter_length)
