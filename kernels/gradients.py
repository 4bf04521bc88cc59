"""Gradients through the Triton kernels: of signals by the same convolution backwards in time, of filters by torch."""

from typing import Any

import torch
from torch import Tensor

from genoconv.kernels import triton_path

# Samples transformed at a time for the gradient of the filters.
_STEP = 1 << 26


def differentiable(
    u: Tensor,
    taps: Tensor,
    skip: Tensor | None,
    in_gate: Tensor | None,
    out_gate: Tensor | None,
    *,
    check: bool,
) -> Tensor:
    """The gated convolutions of u (B, H, L), differentiable in every operand; nothing but the operands is kept."""
    result: Tensor = _Convolution.apply(u, taps, skip, in_gate, out_gate, check)  # type: ignore[no-untyped-call]
    return result


class _Convolution(torch.autograd.Function):
    """y = out_gate * (taps * x + skip x) with x = u * in_gate."""

    @staticmethod
    def forward(
        context: Any,
        u: Tensor,
        taps: Tensor,
        skip: Tensor | None,
        in_gate: Tensor | None,
        out_gate: Tensor | None,
        check: bool,
    ) -> Tensor:
        context.save_for_backward(u, taps, skip, in_gate, out_gate)
        context.check = check
        return _convolve(u, taps, skip, in_gate, out_gate, check)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        u, taps, skip, in_gate, out_gate = context.saved_tensors
        needs = context.needs_input_grad
        (dy,) = gradients
        g = dy if out_gate is None else dy * out_gate
        x = u if in_gate is None else u * in_gate
        du = dtaps = dskip = din = dout = None
        if needs[0] or needs[3]:
            # What sample n gave to later ones comes back from them: the convolution, backwards in time.
            dx = _convolve(g.flip(-1), taps, skip, None, None, context.check).flip(-1)
            du = dx if in_gate is None else dx * in_gate
            din = dx * u if needs[3] else None
        if needs[1]:
            dtaps = _correlate(g, x, taps)
        if skip is not None and needs[2]:
            dskip = torch.einsum("bhl,bhl->h", g.float(), x.float()).to(skip.dtype)
        if needs[4]:
            dout = dy * _convolve(u, taps, skip, in_gate, None, context.check)
        return du, dtaps, dskip, din, dout, None


def _convolve(
    u: Tensor, taps: Tensor, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None, check: bool
) -> Tensor:
    out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    spectrum = triton_path.prepare(taps, u.shape[-1], batch=u.shape[0])
    triton_path.convolve(u, spectrum, skip, in_gate, out_gate, out, check=check)
    return out


def _correlate(g: Tensor, x: Tensor, taps: Tensor) -> Tensor:
    """The gradient of taps (H, K): the sum over rows and samples n of g[n] x[n - k], in float32."""
    B, H, L = x.shape
    kept = min(taps.shape[1], L)
    n = 1 << (L + kept - 2).bit_length()
    gradient = torch.zeros_like(taps)
    step = max(1, _STEP // (B * n))
    for h in range(0, H, step):
        channels = slice(h, h + step)
        product = torch.fft.rfft(g[:, channels].float(), n) * torch.fft.rfft(x[:, channels].float(), n).conj()
        gradient[channels, :kept] = torch.fft.irfft(product.sum(0), n)[:, :kept].to(taps.dtype)
    return gradient
