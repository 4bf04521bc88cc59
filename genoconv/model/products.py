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

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK = 256
"""Positions at a time: the wide hidden layer of 256 channels' MLP, 1 MiB, stays in a core's cache."""

HALF = torch.bfloat16
# In half precision numbers of positions are rounded up to these, so that there are few shapes.
_HALF_STEP = 64


class Product:
    """A linear layer, called with blocks of x (n, k).

    Args:
        linear: The layer.
        gelu: Apply GELU in its tanh form to the result.
        pack: Blocks of `BLOCK` positions will be many, so that it is worth while to prepare for them: as long as
            computing 50 positions.
        half: Round operands and result to bfloat16.
    """

    def __init__(self, linear: nn.Linear, *, gelu: bool = False, pack: bool = True, half: bool = False) -> None:
        self._weight, self._bias, self._gelu, self._half = linear.weight, linear.bias, gelu, half
        if half:
            self._weight = self._weight.detach().to(HALF)
        self._packed = None
        if pack and _by_onednn(self._weight):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self._weight.detach(), BLOCK)

    def __call__(self, x: Tensor) -> Tensor:
        """The product of x with the weight, plus bias, (n, m)."""
        if self._half and _by_onednn(self._weight):
            weight = self._weight if self._packed is None else self._packed
            return self._fused(_few_shapes(x.to(HALF)), weight)[: len(x)]
        if self._packed is not None and len(x) == BLOCK:
            return self._fused(x, self._packed)
        y = functional.linear(x.to(self._weight.dtype), self._weight, self._bias.to(self._weight.dtype))
        return _gelu(y) if self._gelu else y

    def _fused(self, x: Tensor, weight: Tensor) -> Tensor:
        then, form = ("gelu", "tanh") if self._gelu else ("none", "")
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, self._bias, then, [], form)
        return y


def across(weight: Tensor, x: Tensor, *, common: bool) -> Tensor:
    """A weight (c, k) times every position of x (n, k), channel by channel: (c, n), in the type of x.

    Args:
        weight: The weight; in bfloat16, x and the result are rounded to it too.
        x: The positions.
        common: Many products are of this shape.
    """
    if not _by_onednn(weight):
        return weight.mm(x.to(weight.dtype).t()).to(x.dtype)
    if weight.dtype == HALF:
        rounded = x.to(HALF)
        y: Tensor = _positions_last(weight, rounded if common else _few_shapes(rounded))
        return y[:, : len(x)].to(x.dtype)
    return _positions_last(weight, x) if common else weight.mm(x.t())


def _positions_last(weight: Tensor, x: Tensor) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(weight, x, None, "none", [], "")
    return y


def _few_shapes(x: Tensor) -> Tensor:
    """Positions x (n, k), and zeros up to a number of positions that others come in too."""
    return functional.pad(x, (0, 0, 0, -len(x) % _HALF_STEP))


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


def _by_onednn(weight: Tensor) -> bool:
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
