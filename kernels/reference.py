"""The truth that every backend is measured against: the same signature as the door, in float64, by definition."""

import torch
from torch import Tensor
from torch.nn import functional

from genoconv.kernels.sparsity import response


def fftconv(
    u: Tensor,
    taps: Tensor,
    skip: Tensor | None = None,
    *,
    in_gate: Tensor | None = None,
    out_gate: Tensor | None = None,
    backend: str = "auto",
    keep: float = 1.0,
) -> Tensor:
    """Convolves causally with one float64 transform of at least L + K - 1 samples.

    Args:
        u: Signals, (B, H, L).
        taps: Filters, (H, K).
        skip: Weight of the input itself, (H,).
        in_gate: Multiplies the input, (B, H, L).
        out_gate: Multiplies the output, (B, H, L).
        backend: Taken for the sake of one signature; there is only one way here.
        keep: Part of all frequencies, the lowest, that the filters keep, as `prepare` takes it.

    Returns:
        The gated convolutions, (B, H, L), float64.
    """
    del backend
    L, K = u.shape[-1], taps.shape[-1]
    x = _gated(u, in_gate)
    n = L + K if keep == 1.0 else L + K + 4096
    spectrum = torch.fft.rfft(taps.double(), n)
    if keep != 1.0:
        spectrum *= response(keep, n, taps.device)
    y = torch.fft.irfft(torch.fft.rfft(x, n) * spectrum, n)[..., :L]
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
