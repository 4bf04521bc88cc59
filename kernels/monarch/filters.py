"""Filters in the form in which the kernels read them: float16, in the kernels' own order, each with its scale."""

from itertools import pairwise

import torch
from torch import Tensor

from genoconv.kernels.monarch.plan import Plan
from genoconv.kernels.monarch.tables import SHIFT, turns

# The spectrum of rows is stored larger by this factor than it is used: otherwise the smallest bins of the model's
# filters (1e-6 of the largest at a million taps) would sink below float16's range.
GAIN = 64.0
# Room for the largest bin of a signal with a mean: a unitary transform of n samples has sqrt(n) times the mean there,
# and 2^13 / 2^2 leaves a factor of 4 for the mean itself and for what the skip term adds.
_ROOM = 2.0**13
# Samples of filters transformed at a time.
_STEP = 1 << 26


def prepare(taps: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """Brings filters (H, K) into the form that a plan's kernels read.

    Returns:
        The data (H, ...) float16, and the factor (H,) float32, a power of two, that the kernels multiply their result
        with.
    """
    if plan.method == "direct":
        return _shifted_copies(taps)
    step = max(1, _STEP // max(plan.n * (plan.history + 1), 1))
    parts = [_spectrum(taps[h : h + step], plan) for h in range(0, taps.shape[0], step)]
    return torch.cat([data for data, _ in parts]), torch.cat([scale for _, scale in parts])


def direct_width(taps: int, samples: int, step: int) -> int:
    """Length of one shifted copy of the taps, for tiles of `samples` outputs and `step` inputs."""
    return -(-(taps + 2 * samples + step) // 16) * 16


DIRECT_SAMPLES = 128
DIRECT_STEP = 64


def _shifted_copies(taps: Tensor) -> tuple[Tensor, Tensor]:
    """Eight copies of the taps, each one place further right: (H, 8, W) float16, for loads of 8 values anywhere."""
    H, K = taps.shape
    scale = _power_of_two(2.0**14 / taps.abs().amax(1).double().clamp(min=1e-30)).clamp(2.0**-40, 2.0**40)
    scaled = (taps.double() * scale[:, None]).half()
    data = torch.zeros(H, 8, direct_width(K, DIRECT_SAMPLES, DIRECT_STEP), dtype=torch.float16, device=taps.device)
    for s in range(8):
        data[:, s, DIRECT_SAMPLES + s : DIRECT_SAMPLES + s + K] = scaled
    return data, (1.0 / scale).float()


def _spectrum(taps: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    H = taps.shape[0]
    if plan.method == "blocks":
        parts = [_transform(taps[:, d * plan.n : (d + 1) * plan.n], plan.n) for d in range(plan.history + 1)]
        # The part for the block d before: its own filter block, and the wrapped half of the previous filter block.
        z = torch.stack([parts[0]] + [b - 1j * a for a, b in pairwise(parts)], 1)
        n1, n2 = plan.factors
        z = z.view(H, -1, n2, n1).transpose(2, 3)  # (H, parts, N1, N2)
        gain = 1.0
    else:
        z = _transform(taps, plan.n).view(H, *reversed(plan.factors))
        z = z.permute(0, *range(z.ndim - 1, 0, -1)).reshape(H, -1, *plan.factors[-2:])  # (H, outer, N1, N2)
        gain = GAIN
    largest = torch.view_as_real(z).abs().flatten(1).amax(1).double().clamp(min=1.0)
    scale = _power_of_two(_ROOM / plan.n**0.5 / largest)
    data = torch.empty(H, z.shape[1], 2, *z.shape[2:], dtype=torch.float16, device=taps.device)
    factor = (scale * gain).to(z.real.dtype).view(H, 1, 1, 1)
    data[:, :, 0] = z.real * factor
    data[:, :, 1] = z.imag * factor
    return data, (1.0 / scale).float()


def _transform(taps: Tensor, n: int) -> Tensor:
    """The quarter-shifted DFT of filters (H, K <= n) over n samples, (H, n) complex; K = 0 gives zeros."""
    dtype = torch.complex128 if taps.dtype == torch.float64 else torch.complex64
    k = torch.arange(taps.shape[1], dtype=torch.float64, device=taps.device)
    return (
        torch.fft.fft(taps.to(dtype) * turns(-SHIFT * k / n).to(dtype), n=n)
        if taps.shape[1]
        else torch.zeros(taps.shape[0], n, dtype=dtype, device=taps.device)
    )


def _power_of_two(x: Tensor) -> Tensor:
    """The largest power of two not above x."""
    return torch.exp2(torch.floor(torch.log2(x)))
