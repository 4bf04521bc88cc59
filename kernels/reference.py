"""The truth that every backend is measured against: the same signature as the door, in float64, by definition."""

import torch
from torch import Tensor
from torch.nn import functional


def fftconv(
    u: Tensor,
    taps: Tensor,
    skip: Tensor | None = None,
    *,
    in_gate: Tensor | None = None,
    out_gate: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Convolves causally with one float64 transform of at least L + K - 1 samples.

    Args:
        u: Signals, (B, H, L).
        taps: Filters, (H, K).
        skip: Weight of the input itself, (H,).
        in_gate: Multiplies the input, (B, H, L).
        out_gate: Multiplies the output, (B, H, L).
        backend: Taken for the sake of one signature; there is only one way here.

    Returns:
        The gated convolutions, (B, H, L), float64.
    """
    del backend
    L, K = u.shape[-1], taps.shape[-1]
    x = _gated(u, in_gate)
    n = L + K
    y = torch.fft.irfft(torch.fft.rfft(x, n) * torch.fft.rfft(taps.double(), n), n)[..., :L]
    return _gated(_skipped(y, x, skip), out_gate)


def direct(
    u: Tensor,
    taps: Tensor,
    skip: Tensor | None = None,
    *,
    in_gate: Tensor | None = None,
    out_gate: Tensor | None = None,
) -> Tensor:
    """The same as `fftconv` by the sum itself, O(L K): for short signals, and to check `fftconv` with."""
    H, K = taps.shape
    x = _gated(u, in_gate)
    y = functional.conv1d(functional.pad(x, (K - 1, 0)), taps.double().flip(-1).unsqueeze(1), groups=H)
    return _gated(_skipped(y, x, skip), out_gate)


def _gated(x: Tensor, gate: Tensor | None) -> Tensor:
    return x.double() if gate is None else x.double() * gate.double()


def _skipped(y: Tensor, x: Tensor, skip: Tensor | None) -> Tensor:
    return y if skip is None else y + skip.double()[:, None] * x
