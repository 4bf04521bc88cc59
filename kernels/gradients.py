"""Gradients through the Triton kernels: operands and the gradient of a result in, the gradients of all operands out."""

from typing import Any

import torch
from torch import Tensor

from genoconv.kernels import triton_path
from genoconv.kernels.devices import on_device_of
from genoconv.kernels.monarch import filters
from genoconv.kernels.monarch.rates import rates_for
from genoconv.kernels.spectrum import Spectrum


def differentiable(
    u: Tensor,
    taps: Tensor,
    skip: Tensor | None,
    in_gate: Tensor | None,
    out_gate: Tensor | None,
    *,
    check: bool,
) -> Tensor:
    """The gated convolutions of u (B, H, L), differentiable in every operand (once).

    Beside the operands only the filters' spectrum is kept for the way back, if it takes no more memory than u.
    """
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
        from genoconv.kernels.monarch import backward

        B, H, L = u.shape
        spectrum = triton_path.prepare(taps, L, batch=B)
        out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
        triton_path.convolve(u, spectrum, skip, in_gate, out_gate, out, check=check)
        context.plan = backward.choose(B, H, L, rates_for(u.device))
        context.check = check
        shared = spectrum.plan is not None and spectrum.plan.shares_spectra(context.plan)
        kept = shared and spectrum.nbytes <= u.numel() * u.element_size()
        context.save_for_backward(u, taps, skip, in_gate, out_gate, *_parts(spectrum if kept else None))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from genoconv.kernels.monarch import backward

        u, taps, skip, in_gate, out_gate, data, scale = context.saved_tensors
        (dy,) = gradients
        H, K = taps.shape
        kept = min(K, u.shape[-1])
        with on_device_of(u):
            if data is None:
                data, scale = filters.prepare(taps[:, :kept], context.plan)
            found = backward.gradients(u, dy, context.plan, data, scale, kept, skip, in_gate, out_gate)
            if context.check:
                _check(found, dy)
        dtaps = found.taps.to(taps.dtype)
        if kept < K:
            dtaps = torch.cat([dtaps, dtaps.new_zeros(H, K - kept)], 1)
        dskip = None if found.skip is None or skip is None else found.skip.to(skip.dtype)
        return found.u, dtaps, dskip, found.in_gate, found.out_gate, None


def _parts(spectrum: Spectrum | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if spectrum is None else (spectrum.data, spectrum.scale)


def _check(found: Any, dy: Tensor) -> None:
    """Raises ConvolutionOverflowError if gradients are not finite but dy was (loss scalers look for those)."""
    from genoconv.kernels.monarch import launch

    named = (found.u, found.in_gate, found.out_gate, found.taps[None])
    channels = {h for each in named if each is not None for h in launch.channels_not_finite(each)}
    if channels and not launch.channels_not_finite(dy):
        raise triton_path.ConvolutionOverflowError(sorted(channels))
