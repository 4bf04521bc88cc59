"""The backend in Triton: a plan is chosen, filters are brought into its form, and its kernels are launched.

Triton itself is imported only when something is launched.
"""

import torch
from torch import Tensor

from genoconv.kernels.backends import HALF
from genoconv.kernels.devices import on_device_of, shared_memory
from genoconv.kernels.monarch import exact_plan, filters
from genoconv.kernels.monarch.plan import Plan, choose
from genoconv.kernels.monarch.rates import rates_for
from genoconv.kernels.spectrum import Spectrum


class ConvolutionOverflowError(ArithmeticError):
    """Values that are not finite: the signals were not, or they went beyond the range of half precision.

    Attributes:
        channels: The channels, 0-based, in which there are such values (and, of signals that share a tile with them,
            the neighbours).
    """

    def __init__(self, channels: list[int]) -> None:
        shown = ", ".join(map(str, channels[:8])) + (", ..." if len(channels) > 8 else "")
        super().__init__(f"the convolution is not finite in channel {shown} (overflow in half precision?)")
        self.channels = channels


def prepare(taps: Tensor, length: int, *, batch: int = 1, plan: Plan | None = None, exact: bool = False) -> Spectrum:
    """Brings filters (H, K) into the form of the best plan, or of a given one, for up to `length` samples.

    `exact` is for the kernels with float32's accuracy.
    """
    H, K = taps.shape
    kept = min(K, length)
    if plan is None:
        if exact:
            plan = exact_plan.choose(length, shared_memory(taps.device))
        else:
            plan = choose(batch, H, length, kept, rates_for(taps.device))
    dtype = torch.float32 if exact else HALF[0]
    with on_device_of(taps):
        data, scale = filters.prepare(taps[:, :kept].detach(), plan, dtype)
    return Spectrum("triton", kept, _longest(plan, kept, K), plan.n, plan.n, data, dtype, plan=plan, scale=scale)


def spectrum_bytes(channels: int, taps: int, length: int, batch: int) -> int:
    """Bytes of the Spectrum of `channels` filters for signals (batch, channels, length)."""
    kept = min(taps, length)
    return channels * filters.prepared_bytes(kept, choose(batch, channels, length, kept))


def convolve(
    u: Tensor,
    spectrum: Spectrum,
    skip: Tensor | None,
    in_gate: Tensor | None,
    out_gate: Tensor | None,
    out: Tensor,
    *,
    check: bool,
) -> None:
    """Writes the gated convolutions of u (B, H, L), float16, bfloat16 or float32, into out, which may be u or a gate.

    Raises:
        ConvolutionOverflowError: A value is not finite (only if check is on, which waits for the device).
    """
    from genoconv.kernels.monarch import exact, launch, resample

    if u.numel() == 0:
        return
    assert spectrum.plan is not None
    assert spectrum.scale is not None
    filters = (spectrum.plan, spectrum.taps, spectrum.data, spectrum.scale)
    with on_device_of(u):
        if spectrum.dtype == torch.float32:
            exact.convolve(u, spectrum.plan, spectrum.data, spectrum.scale, skip, in_gate, out_gate, out)
        elif spectrum.band is None:
            launch.convolve(u, *filters, skip, in_gate, out_gate, out)
        else:
            resample.convolve(u, spectrum.band, *filters, skip, in_gate, out_gate, out)
        if check and (channels := launch.channels_not_finite(out)):
            raise ConvolutionOverflowError(channels)


def _longest(plan: Plan, kept: int, taps: int) -> int:
    """The longest signal that a plan with `kept` of `taps` taps serves, 0 for any."""
    limits = [kept] if kept < taps else []
    if plan.method in ("passes", "signals") and not plan.history:
        limits.append(plan.n)
    if (plan.method == "blocks" and kept > plan.n * plan.history) or (
        plan.method == "passes" and plan.history and plan.parts(kept) > 1
    ):
        limits.append(plan.n * (plan.history + 1))
    return min(limits, default=0)
