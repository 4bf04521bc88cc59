"""Filters in the form in which the kernels read them: float16, in the kernels' own order, each with its scale."""

from math import prod

import torch
from torch import Tensor

from genoconv.kernels.monarch.plan import Plan
from genoconv.kernels.monarch.tables import growth

# The spectrum of rows is stored larger by this factor than it is used: otherwise the smallest bins of the model's
# filters (1e-6 of the largest at a million taps) would sink below float16's range.
GAIN = 64.0
# Room for the largest bin of a signal: a unitary transform of n samples with a mean has sqrt(n) times the mean there;
# 2^11 leaves a factor of 14 for the mean and of 2 for what the skip term adds. Below a million samples, bins of up to 2
# leave more: in repeats, signals of a trained model are all mean (10 and more, at a skip of 3). Errors do not begin to
# rise before 2^-2.
_ROOM, _LARGEST_BIN = 2.0**11, 2.0
# Samples of filters transformed at a time.
_STEP = 1 << 26
# Bins, or taps, that a program of the packing kernels handles.
_BINS, _TAPS = 2048, 1024


def prepare(taps: Tensor, plan: Plan, dtype: torch.dtype = torch.float16) -> tuple[Tensor, Tensor]:
    """Brings filters (H, K) into the form that a plan's kernels read.

    Returns:
        The data (H, ...) in `dtype` (float32 for the exact kernels), and the factor (H,) float32, a power of two, that
        the kernels multiply their result with.
    """
    if plan.method == "direct":
        return _shifted_copies(taps)
    H, parts = taps.shape[0], plan.parts(taps.shape[1])
    inner = plan.factors[-2:]
    data = torch.empty(H, parts, plan.n // prod(inner), 2, *inner, dtype=dtype, device=taps.device)
    scale = torch.empty(H, device=taps.device)
    step = max(1, _STEP // (plan.n * parts))
    for h in range(0, H, step):
        _spectrum(taps[h : h + step], plan, data[h : h + step], scale[h : h + step])
    return data.flatten(1, 2), scale


def gradient(product: Tensor, plan: Plan, taps: int, factor: Tensor) -> Tensor:
    """Brings gradients of spectra back to filters.

    Args:
        product: Sums of gradient times conjugate signal, unitary spectra in the kernels' order, (parts, H, ...)
            float32; the parts are added up.
        plan: Whose kernels they come from.
        taps: Taps to give, K.
        factor: (H,) float32, taken back from the result.

    Returns:
        (H, K) float32.
    """
    from genoconv.kernels.monarch.filters_kernels import turn_back_kernel, unpack_kernel

    parts, H = product.shape[:2]
    z = torch.empty(H, plan.n, dtype=torch.complex64, device=product.device)
    unpack_kernel[_grid(plan, H)](product, torch.view_as_real(z), parts, *_order(plan), _halved(plan), num_warps=4)
    z = torch.fft.ifft(z, norm="forward")
    lags = torch.empty(H, taps, device=product.device)
    factor = factor * growth(plan)
    turn_back_kernel[(-(-taps // _TAPS), H)](torch.view_as_real(z), lags, factor, taps, plan.n, SIZE=_TAPS)
    return lags


def prepared_bytes(taps: int, plan: Plan) -> int:
    """Bytes of the data that `prepare` makes of one filter of `taps` taps."""
    if plan.method == "direct":
        return 2 * 8 * direct_width(taps, DIRECT_SAMPLES, DIRECT_STEP)
    return 2 * 2 * plan.n * plan.parts(taps)


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


def _spectrum(taps: Tensor, plan: Plan, data: Tensor, scale: Tensor) -> None:
    """Transforms a few filters (H, K) into data (H, parts, ...) and scale (H,)."""
    from genoconv.kernels.monarch.filters_kernels import pack_kernel, turn_kernel

    H, parts = data.shape[:2]
    z = torch.empty(H, parts, plan.n, dtype=torch.complex64, device=taps.device)
    turn_kernel[(-(-plan.n // _TAPS), H, parts)](
        taps, torch.view_as_real(z), *taps.stride(), taps.shape[1], plan.n, SIZE=_TAPS
    )
    z = torch.fft.fft(z)
    if parts > 1:
        # The part for the block d before: its own filter block, and the wrapped half of the previous filter block.
        z[:, 1:] = z[:, 1:] - 1j * z[:, :-1]
    most = torch.linalg.vector_norm(torch.view_as_real(z).flatten(1), float("inf"), dim=1)
    halved = _halved(plan) and data.dtype == torch.float16
    gain = GAIN if halved else 1.0
    if data.dtype == torch.float16:
        gain /= growth(plan)
    room = min(_ROOM / plan.n**0.5, _LARGEST_BIN)
    pack_kernel[(*_grid(plan, H), parts)](
        torch.view_as_real(z), most, data, scale, room, gain, parts, *_order(plan), halved, num_warps=4
    )


def _grid(plan: Plan, channels: int) -> tuple[int, int]:
    return -(-plan.n // _BINS), channels


def _order(plan: Plan) -> tuple[int, int, int, int, int, int]:
    """What the packing kernels ask of a plan: F0, F1, N1, REST, N2, SIZE."""
    first, second, n1, n2 = (*plan.factors[:-2], 1, 1)[:2] + plan.factors[-2:]
    return first, second, n1, plan.n // n2, n2, _BINS // n2


def _halved(plan: Plan) -> bool:
    """Whether the kernels for float16 have even and odd frequencies apart (see `rows_kernel`)."""
    return plan.method in ("passes", "signals")


def _power_of_two(x: Tensor) -> Tensor:
    """The largest power of two not above x."""
    return torch.exp2(torch.floor(torch.log2(x)))
