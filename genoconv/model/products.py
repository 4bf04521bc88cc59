"""Products with weights, positions (n, k) -> (n, m): by oneDNN on the CPU where torch has it, else by torch's own.

Torch gives float32 products on a CPU to MKL. Its oneDNN, which it takes for other types, is 7 to 18% faster at them
(one core of an AMD EPYC, Zen 4, torch 2.13: 110 instead of 95 to 103 GFLOP/s), applies GELU to what it computes, and
reads weights that were packed before. Torch offers that for float32 by operators which its compiler uses, so they are
tried before the first use.

oneDNN compiles code for every shape, 0.8 ms and up to 1 MiB each: it gets shapes that come again and again, no others.

In half precision operands and results are bfloat16, sums and biases float32, as CPUs with avx512_bf16 compute: twice as
fast on the same core (205 to 215 GFLOP/s). Others emulate it, slower than float32; `bfloat16_obstacle` tells.
"""

import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK = 256
"""Positions at a time: the wide hidden layer of 256 channels' MLP, 1 MiB, stays in a core's cache."""

HALF = torch.bfloat16
# In half precision numbers of positions are rounded up to these, so that there are few shapes.
_HALF_STEP = 64


class Factor(NamedTuple):
    """A linear layer as `multiply` uses it.

    Attributes:
        weight: (m, k); in bfloat16 if operands and result are to be rounded to it.
        packed: The same, packed by oneDNN, or None.
        bias: (m,) float32.
        gelu: Whether GELU in its tanh form is applied to the result.
        onednn: Whether oneDNN multiplies.
    """

    weight: Tensor
    packed: Tensor | None
    bias: Tensor
    gelu: bool
    onednn: bool


class Product:
    """A linear layer, called with blocks of x (n, k).

    Args:
        linear: The layer.
        gelu: Apply GELU in its tanh form to the result.
        pack: Blocks of `BLOCK` positions will be many, so that it is worth while to prepare for them: as long as
            computing 50 positions.
        half: Round operands and result to bfloat16.

    Attributes:
        factor: What `multiply` needs of it.
    """

    def __init__(self, linear: nn.Linear, *, gelu: bool = False, pack: bool = True, half: bool = False) -> None:
        weight = linear.weight.detach().to(HALF) if half else linear.weight
        onednn = by_onednn(weight)
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), BLOCK) if pack and onednn else None
        self.factor = Factor(weight, packed, linear.bias, gelu, onednn)

    def __call__(self, x: Tensor) -> Tensor:
        """The product of x with the weight, plus bias, (n, m)."""
        return multiply(x, self.factor)


def multiply(x: Tensor, by: Factor, block: int = BLOCK) -> Tensor:
    """A `Product` as a function, which TorchScript can read."""
    if by.onednn and by.weight.dtype == torch.bfloat16:
        return _fused(_few_shapes(x.to(by.weight.dtype)), by)[: len(x)]
    if by.packed is not None and len(x) == block:
        return _fused(x, by)
    y = functional.linear(x.to(by.weight.dtype), by.weight, by.bias.to(by.weight.dtype))
    return _gelu(y) if by.gelu else y


def _fused(x: Tensor, by: Factor) -> Tensor:
    weight = by.packed
    if weight is None:
        weight = by.weight
    then, form = ("gelu", "tanh") if by.gelu else ("none", "")
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, by.bias, then, [], form)
    return y


def across(weight: Tensor, x: Tensor, common: bool, onednn: bool) -> Tensor:
    """A weight (c, k) times every position of x (n, k), channel by channel: (c, n), in the type of x.

    Args:
        weight: The weight; in bfloat16, x and the result are rounded to it too.
        x: The positions.
        common: Many products are of this shape.
        onednn: Let oneDNN multiply: `by_onednn(weight)`.
    """
    if not onednn:
        return weight.mm(x.to(weight.dtype).t()).to(x.dtype)
    if weight.dtype == torch.bfloat16:
        rounded = x.to(weight.dtype)
        y = _positions_last(weight, rounded if common else _few_shapes(rounded))
        return y[:, : len(x)].to(x.dtype)
    return _positions_last(weight, x) if common else weight.mm(x.t())


def _positions_last(weight: Tensor, x: Tensor) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(weight, x, None, "none", [], "")
    return y


def _few_shapes(x: Tensor, step: int = _HALF_STEP) -> Tensor:
    """Positions x (n, k), and zeros up to a number of positions that others come in too."""
    return functional.pad(x, [0, 0, 0, -len(x) % step])


def bfloat16_obstacle() -> str:
    """Why this CPU does not compute in half precision; empty if it does."""
    if not _has_bfloat16():
        return "needs a GPU, or a CPU with products of bfloat16 (avx512_bf16 among the flags of /proc/cpuinfo)"
    return "" if onednn_works() else "needs a GPU, or a PyTorch with oneDNN's operators on this CPU"


@lru_cache(maxsize=1)
def _has_bfloat16() -> bool:
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def by_onednn(weight: Tensor) -> bool:
    """Whether oneDNN multiplies with a weight."""
    return weight.device.type == "cpu" and weight.dtype in (torch.float32, HALF) and onednn_works()


@lru_cache(maxsize=1)
def onednn_works() -> bool:
    """Whether this torch has the operators, and they compute what they should."""
    if not torch.backends.mkldnn.enabled:
        return False
    x, weight, bias = (torch.linspace(-2, 2, n).cos() for n in (15, 35, 7))
    x, weight = x.view(3, 5), weight.view(7, 5)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 3)
        fused = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "gelu", [], "tanh")
        simple = torch.ops.mkldnn._linear_pointwise(weight, x, None, "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    expected = functional.gelu(functional.linear(x, weight, bias), approximate="tanh")
    return torch.allclose(fused, expected, atol=1e-5) and torch.allclose(simple, weight @ x.t(), atol=1e-5)


def _gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form, as x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)).

    Measured with torch 2.13 on one core of an AMD EPYC (Zen 4): 0.7 ns a number; torch's own takes 1.65.
    """
    inner = torch.addcmul(x, x * x, x, value=0.044715)
    return inner.mul_(2 * math.sqrt(2 / math.pi)).sigmoid_().mul_(x)
