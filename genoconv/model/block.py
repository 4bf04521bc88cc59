"""One block: the stream x (B, L, d) passes the mixer along the sequence, then the MLP along the channels."""

import torch
from torch import Tensor, nn

from genoconv.model.config import NORM_EPS, HyenaConfig
from genoconv.model.filter import Positions
from genoconv.model.operator import HyenaOperator


class Block(nn.Module):
    """Norm, Hyena operator, add; norm, MLP, add."""

    def __init__(self, config: HyenaConfig, positions: Positions) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model, eps=NORM_EPS)
        self.operator = HyenaOperator(config, positions)
        self.norm2 = nn.LayerNorm(config.d_model, eps=NORM_EPS)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, filter_length: int | None = None) -> Tensor:
        """The stream after the block, (B, L, d)."""
        return self.leave(x, self.operator.convolve(self.enter(x), filter_length))

    def enter(self, x: Tensor) -> Tensor:
        """What the long filter mixes, with its gates, (B, 3d, L)."""
        return self.operator.enter(self.norm1(x))

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        """The stream x (B, L, d) with what the long filter made of it, y (B, d, L), and with the MLP's share."""
        x = x + self.operator.leave(y)
        after: Tensor = x + self.mlp(self.norm2(x))
        return after

    def compile_around_convolution(self) -> None:
        """Has torch.compile fuse all but the convolution, on first use: for training, where shapes repeat."""
        for name in ("enter", "leave"):
            self.__dict__[name] = torch.compile(getattr(self, name), dynamic=False)
        filters = self.operator.long_filter
        filters.__dict__["forward"] = torch.compile(filters.forward, dynamic=False)


class MLP(nn.Module):
    """d_model -> d_inner -> d_model, with the tanh form of GELU between (erf moves the final states by 1e-3)."""

    def __init__(self, config: HyenaConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.d_model, config.d_inner)
        self.activation = nn.GELU(approximate="tanh")
        self.fc2 = nn.Linear(config.d_inner, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Transforms every position of x (B, L, d) by itself."""
        output: Tensor = self.fc2(self.activation(self.fc1(x)))
        return output
