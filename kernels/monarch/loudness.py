"""Signals of any size become signals that float16 holds: the power of two that each channel is multiplied by."""

import torch
import triton
from torch import Tensor

from genoconv.kernels.monarch.loudness_kernels import factor_kernel, loudness_kernel

# Of the mean of |x| over a row, and of its largest value, after scaling: the mean as the kernels expect it of signals,
# the largest with room for an outer transform over 64 rows.
_LOUDEST_MEAN, _LOUDEST = 1.0, 2.0**12


def factor_for(x: Tensor, gate: Tensor | None) -> Tensor:
    """For each channel the power of two (H,) that makes x * gate, (B, H, L), as loud as float16 likes it."""
    loudness = _loudness(x, gate)
    H, _, B, programs = loudness.shape
    factor = torch.empty(H, device=x.device)
    width = min(1024, triton.next_power_of_2(programs))
    mean = x.shape[-1] * _LOUDEST_MEAN
    factor_kernel[(H,)](loudness, factor, B, programs, mean, _LOUDEST, ROWS=1024 // width, SIZE=width)
    return factor


def factors_for(x: Tensor, gate: Tensor | None) -> Tensor:
    """The same for each row by itself, (B, H): then what is in the rest of the batch changes nothing."""
    loudness = _loudness(x, gate)
    mean, largest = loudness[:, 0].sum(-1).t() / x.shape[-1], loudness[:, 1].amax(-1).t()
    wanted = torch.minimum(_LOUDEST_MEAN / mean, _LOUDEST / largest).clamp(2.0**-96, 2.0**96)
    return torch.exp2(torch.log2(wanted).floor()).contiguous()


def _loudness(x: Tensor, gate: Tensor | None) -> Tensor:
    """Sums and largest values of |x * gate| by program, (H, 2, B, programs)."""
    B, H, L = x.shape
    size, steps = (1024, 4) if L > 1024 else (max(16, triton.next_power_of_2(L)), 1)
    programs = triton.cdiv(L, size * steps)
    loudness = torch.empty(H, 2, B, programs, device=x.device)
    other = x if gate is None else gate
    loudness_kernel[(programs, H, B)](
        x, other, loudness, *x.stride()[:2], *other.stride()[:2], B, L,
        SIZE=size, STEPS=steps, GATED=gate is not None,
    )  # fmt: skip
    return loudness
