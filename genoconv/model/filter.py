"""The long filter: positions -> a small network of sines -> a decaying window -> taps (d, K)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from genoconv.model.config import HyenaConfig


class Positions(nn.Module):
    """What is known of each tap's position; layers that agree on it share one such module.

    Attributes:
        z: Features, (l_max, emb_dim): the time, and cosines and sines of it.
        t: The time, (l_max, 1), from 0 to 1.
    """

    z: Tensor
    t: Tensor

    def __init__(self, config: HyenaConfig) -> None:
        super().__init__()
        z, t = position_features(config.l_max, config.emb_dim)
        self.register_buffer("z", z)
        self.register_buffer("t", t)


class ImplicitFilter(nn.Module):
    """Makes the taps of all channels of a layer from their positions; `l_max` of them, whatever the input's length."""

    deltas: Tensor

    def __init__(self, config: HyenaConfig, positions: Positions) -> None:
        super().__init__()
        width = config.filter_order
        self.shift = config.filter_shift
        self.positions = positions
        self.freq = nn.Parameter(torch.full((width,), config.activation_freq))
        self.inner = nn.ModuleList([nn.Linear(config.emb_dim, width), nn.Linear(width, width), nn.Linear(width, width)])
        self.outer = nn.Linear(width, config.d_model, bias=False)
        self.register_buffer("deltas", decay_rates(config.d_model))

    def forward(self, count: int) -> Tensor:
        """The first `count` <= l_max taps of every channel, (d, count), in float32 under autocast too."""
        # Made in bfloat16, neighbouring taps could not be told apart.
        with torch.autocast(self.deltas.device.type, enabled=False):
            return self.taps(self.features(0, count), slice(None))

    def features(self, first: int, last: int) -> Tensor:
        """What all channels' taps first to last - 1 are linear combinations of, (last - first, filter_order)."""
        h = self.positions.z[first:last]
        for linear in self.inner:
            h = torch.sin(self.freq * linear(h))
        return h

    def taps(self, features: Tensor, channels: slice) -> Tensor:
        """The taps of some channels from `features` (K, filter_order): (channels, K)."""
        t = self.positions.t[: len(features), 0]  # (K)
        window = torch.exp(self.deltas[channels].abs()[:, None] * -t) + self.shift  # (channels, K)
        return functional.linear(self.outer.weight[channels], features) * window


def position_features(l_max: int, emb_dim: int) -> tuple[Tensor, Tensor]:
    """The formulas behind z (l_max, emb_dim) and t (l_max, 1), as the public models have them; float32."""
    n = torch.arange(l_max, dtype=torch.float64, device="cpu")
    t = n / max(l_max - 1, 1)
    bands = torch.linspace(1e-4, (emb_dim - 1) // 2 - 1, (emb_dim - 1) // 2, dtype=torch.float64, device="cpu")
    angle = (2 * math.pi / l_max) * n[:, None] * bands
    z = torch.cat([t[:, None], angle.cos(), -angle.sin()], dim=1)
    return z.float(), t[:, None].float()


def decay_rates(d_model: int) -> Tensor:
    """The formula behind the windows' rates of decay, (d_model,) float32: down to 1% at 0.3 to 1.5 of l_max."""
    ends = math.log(0.01) / 1.5, math.log(0.01) / 0.3
    return torch.linspace(*ends, d_model, dtype=torch.float64, device="cpu").float()
