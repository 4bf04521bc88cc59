"""Frequency-sparse filters: only low frequencies are kept, so a few of the samples carry all that they let through.

A filter that keeps the lowest part of all frequencies is its taps, convolved with a symmetric low-pass (`response` is
its definition). What it reads of a signal, and what it gives, hold no other frequencies, so it works on every second,
third or seventh sample, or on 64 where there were 224: signals pass through a short low-pass, are decimated, convolved
with fewer taps, and interpolated. Transforms, spectra and memory shrink by that ratio, which need not be an integer, as
both ways are products with a constant matrix. The responses of the two short low-passes, which are not quite 1 in the
band, are taken out of the taps.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

MOST_KEPT = 0.4
LEAST_KEPT = 1 / 64
# Low samples that one window makes, those that lie before the signal, and those that the filter looks ahead.
LOW = 64
_BEFORE = 32
AHEAD = 128
# On the way back: the low sample that falls on the first sample of the signal. Those that samples are made of begin at
# a multiple of so many, 16 bytes of float16.
ORIGIN = _BEFORE + AHEAD
ALIGNED = 8
# Steepness of Kaiser windows: side lobes of -80 dB.
_BETA = 7.86
_DECIBELS = 80.0
# Samples of filters transformed at a time.
_STEP = 1 << 26


@dataclass(frozen=True, slots=True)
class Band:
    """The lowest `keep` of all frequencies (1 is all of them), and the samples that are enough for them.

    Attributes:
        keep: The part of all frequencies.
        stride: Samples of the signal for which there are `LOW` low samples.
        reach: Samples that the short low-passes reach to either side.
        ringing: The same of the low-pass that defines what is kept.
    """

    keep: float
    stride: int
    reach: int
    ringing: int

    @property
    def ratio(self) -> float:
        """Samples of the signal for each low sample."""
        return self.stride / LOW

    @property
    def window(self) -> int:
        """Samples that the low samples of one window are made from, in whole multiples of `LOW`."""
        return -(-(self.stride + 2 * self.reach) // LOW) * LOW

    @property
    def left(self) -> int:
        """Samples by which that begins before the window."""
        return _BEFORE * self.stride // LOW + self.reach

    @property
    def phases(self) -> int:
        """Places between two samples in which low samples come to lie."""
        return LOW // math.gcd(LOW, self.stride)

    def parts(self, columns: int) -> int:
        """Parts of so many samples (the last one may be shorter) in which a window is interpolated."""
        return -(-self.stride // columns)

    def first_low(self, part: int, columns: int) -> int:
        """The low sample, at a multiple of `ALIGNED`, from which on a part of the first window is made."""
        first = (ORIGIN * self.stride + (part * columns - self.reach) * LOW) // self.stride
        return first // ALIGNED * ALIGNED

    def in_reach(self, columns: int) -> int:
        """Low samples that any part is made of, from its first one on: a power of two, as tensor cores take them."""
        most = 0
        for part in range(self.parts(columns)):
            end = min((part + 1) * columns, self.stride) - 1 + self.reach
            last = (ORIGIN * self.stride + end * LOW) // self.stride
            most = max(most, last - self.first_low(part, columns) + 1)
        return 1 << (most - 1).bit_length()

    def low_samples(self, length: int) -> int:
        """Low samples of a signal of `length` samples, in whole windows, with what the filter looks ahead."""
        return -(-((length - 1 + self.reach) * LOW // self.stride + 1 + _BEFORE + AHEAD) // LOW) * LOW

    def low_taps(self, taps: int) -> int:
        """Taps of the filters that work on the low samples, made of filters of so many taps."""
        return -(-taps * LOW // self.stride) + 2 * AHEAD


# By the largest part of the frequencies: stride, reach and ringing (see `Band`). What is left between the band and its
# first image lets the short low-passes fall by 80 dB, by 76 at 0.27, by 67 at a quarter. There, 224 makes signals of
# 2^16 samples fit into 5 rows of 4,096 low samples, where 192 makes them 6, and those of 2^17 and 2^18 19 and 37 of
# 2,048, not 22 and 43; windows of 224 samples, 320 with what the low-pass reaches, begin at whole sectors of 32 bytes,
# those of 232 do not. 256 would leave no gap at all.
_BANDS = {1 / 12: (448, 32, 784), 1 / 4: (224, 48, 336), 0.27: (192, 32, 336), MOST_KEPT: (128, 32, 224)}


def band_for(keep: float) -> Band:
    """The band for a part of all frequencies.

    Raises:
        ValueError: So few or so many frequencies cannot be kept.
    """
    if not LEAST_KEPT <= keep <= MOST_KEPT:
        raise ValueError(f"keep must be 1 or from {LEAST_KEPT} to {MOST_KEPT}, not {keep}")
    return Band(keep, *next(constants for most, constants in _BANDS.items() if keep <= most))


def looks_ahead(keep: float) -> int:
    """Samples by which a filter that keeps this part of the frequencies looks ahead; 0 if it keeps them all."""
    return 0 if keep == 1.0 else AHEAD * band_for(keep).stride // LOW


def response(keep: float, n: int, device: torch.device | str = "cpu") -> Tensor:
    """The low-pass that defines what is kept, at the n // 2 + 1 frequencies of rfft: float64, real.

    It falls from 1 to 1e-4 over 5 / ringing of all frequencies, the last of the band, and looks `ringing` samples to
    either side (see `Band`).
    """
    band = band_for(keep)
    if n < 2 * band.ringing + 1:
        raise ValueError(f"{n} frequencies are too few for a low-pass of {2 * band.ringing + 1} taps")
    return _symmetric(_low_pass(keep - _slope(band) / 2, band.ringing, _BETA), n, device)


def dropped(taps: Tensor, keep: float) -> Tensor:
    """What is lost of each filter (H, K): the relative L2 error of taps, and of their response; (H,) float64."""
    return _dropped(taps, [keep])[0]


def keep_for(taps: Tensor, tolerance: float) -> float:
    """The smallest of some `keep` with which all filters (H, K) together lose at most `tolerance`; 1.0 if none does.

    The loss is the relative L2 error of the taps and, by Parseval, of the filters' response.
    """
    choices = [1 / 64, 1 / 32, 3 / 64, 1 / 16, 1 / 12, 1 / 8, 3 / 16, 1 / 4, 0.27, 5 / 16, MOST_KEPT]
    weight = taps.double().square().sum(1)
    losses = [float((lost.square() * weight).sum() / weight.sum()) ** 0.5 for lost in _dropped(taps, choices)]
    return next((keep for keep, loss in zip(choices, losses, strict=True) if loss <= tolerance), 1.0)


def narrow(taps: Tensor, band: Band) -> Tensor:
    """Filters (H, K) for the low samples: what decimation, they, and interpolation do is what the band keeps of taps.

    They begin `AHEAD` low samples before the present: (H, K / ratio + 2 * AHEAD), dtype of taps.
    """
    H, K = taps.shape
    kept = band.low_taps(K)
    low_n = _smooth_size(kept + AHEAD)
    n = low_n // LOW * band.stride
    bins = int(band.keep / 2 * n) + 1
    factor = torch.zeros(low_n // 2 + 1, dtype=torch.float64, device=taps.device)
    # Of several phases the roundings cancel in the mean, which is what passes; what one phase has is not.
    short = (low_pass if band.phases > 1 else low_pass.half().double() for low_pass in _short_low_pass(band))
    passed = (_symmetric(each[:: band.phases], n, taps.device)[:bins] for each in short)
    factor[:bins] = band.ratio * response(band.keep, n, taps.device)[:bins] / math.prod(passed)
    out = torch.empty(H, kept, dtype=taps.dtype, device=taps.device)
    for at in _portions(H, n):
        spectrum = torch.fft.rfft(_floating(taps[at]), n)[:, : low_n // 2 + 1]
        out[at] = torch.fft.irfft(spectrum * factor, low_n).roll(AHEAD, 1)[:, :kept]
    return out


@lru_cache(maxsize=16)
def decimation(band: Band, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The matrix (window, LOW) that makes low samples of a window of signal."""
    at = band.phases * (torch.arange(band.window)[:, None] - band.reach) - _fine_stride(band) * torch.arange(LOW)
    return _toeplitz(_short_low_pass(band)[0], at).to(device, dtype)


@lru_cache(maxsize=16)
def interpolation(band: Band, columns: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The matrices (parts, in_reach, columns) that make the parts of a window of signal of low samples."""
    parts = band.parts(columns)
    sample = torch.arange(parts * columns).view(-1, 1, columns)
    first = torch.tensor([band.first_low(part, columns) for part in range(parts)])
    low = first[:, None, None] + torch.arange(band.in_reach(columns))[:, None] - ORIGIN
    return _toeplitz(_short_low_pass(band)[1], band.phases * sample - _fine_stride(band) * low).to(device, dtype)


def decimate(x: Tensor, band: Band) -> Tensor:
    """The low samples of signals (..., L), in plain torch; dtype of x."""
    L, low = x.shape[-1], band.low_samples(x.shape[-1])
    right = low // LOW * band.stride - band.stride + band.window - band.left - L
    windows = torch.nn.functional.pad(x, (band.left, max(right, 0))).unfold(-1, band.window, band.stride)
    return (windows[..., : low // LOW, :] @ decimation(band, x.device, x.dtype)).flatten(-2)


def interpolate(low: Tensor, band: Band, length: int) -> Tensor:
    """Signals (..., length) of what the filters of `narrow` made of their low samples, in plain torch."""
    count = -(-length // band.stride)
    matrix = interpolation(band, band.stride, low.device, low.dtype)[0]
    padded = torch.nn.functional.pad(low[..., band.first_low(0, band.stride) :], (0, len(matrix)))
    windows = padded.unfold(-1, len(matrix), LOW)[..., :count, :]
    return (windows @ matrix).flatten(-2)[..., :length]


def _dropped(taps: Tensor, keeps: list[float]) -> Tensor:
    """(len(keeps), H) float64."""
    H, K = taps.shape
    reach = max(band_for(keep).ringing for keep in keeps)
    n = _smooth_size(K + 2 * reach)
    lost = torch.stack([(1.0 - response(keep, n, taps.device)).square() for keep in keeps])
    out = torch.empty(len(keeps), H, dtype=torch.float64, device=taps.device)
    for at in _portions(H, n):
        energy = torch.fft.rfft(_floating(taps[at]), n).abs().double().square()
        energy[:, 0] /= 2.0
        if n % 2 == 0:
            energy[:, -1] /= 2.0
        out[:, at] = (lost @ energy.T / energy.sum(1).clamp(min=1e-300)).sqrt()
    return out


def _slope(band: Band) -> float:
    """The part of all frequencies over which what is kept falls to nothing."""
    return (_DECIBELS - 7.95) / (2.285 * math.pi * 2 * band.ringing)


def _fine_stride(band: Band) -> int:
    """From one low sample to the next, in parts of a sample: there are `phases` of them."""
    return band.stride * band.phases // LOW


def _low_pass(cut: float, reach: int, beta: float, phases: int = 1) -> Tensor:
    """A symmetric low-pass that lets through the lowest `cut` of all frequencies, at so many places of each sample.

    Returns:
        (2 reach phases + 1,) float64; those at whole samples add up to 1.
    """
    t = torch.arange(-reach * phases, reach * phases + 1, dtype=torch.float64) / phases
    window = torch.kaiser_window(len(t), periodic=False, beta=beta, dtype=torch.float64)
    taps = torch.sinc(cut * t) * window
    return taps / taps[::phases].sum()


def _short_low_pass(band: Band) -> tuple[Tensor, Tensor]:
    """The low-passes before decimation and of interpolation (see `_low_pass`), before they are rounded to float16.

    Their gap is that between the middle of the band's slope and its image.
    """
    gap = 2.0 / band.ratio - 2.0 * band.keep + _slope(band)
    decibels = min(_DECIBELS, 7.95 + 2.285 * math.pi * 2 * band.reach * gap)
    taps = _low_pass(1.0 / band.ratio, band.reach, 0.1102 * (decibels - 8.7), band.phases)
    return taps, taps * band.ratio


def _symmetric(taps: Tensor, n: int, device: torch.device | str) -> Tensor:
    """The (real) response of symmetric taps at the frequencies of rfft over n samples."""
    reach = taps.shape[0] // 2
    rolled = torch.zeros(n, dtype=torch.float64, device=device)
    rolled[: reach + 1] = taps[reach:].to(device)
    rolled[n - reach :] = taps[:reach].to(device)
    spectrum: Tensor = torch.fft.rfft(rolled)
    return spectrum.real


def _toeplitz(taps: Tensor, at: Tensor) -> Tensor:
    """taps[at], counted from their middle, as float16 holds them: every backend has the same low-passes."""
    reach = len(taps) // 2
    return torch.where(at.abs() <= reach, taps.half().double()[(at + reach).clamp(0, 2 * reach)], 0.0)


def _smooth_size(least: int) -> int:
    """A size of transforms, not below `least`: a multiple of `LOW` without large prime factors."""
    return min(odd << max(6, (-(-least // odd) - 1).bit_length()) for odd in (1, 3, 5, 9, 15))


def _floating(taps: Tensor) -> Tensor:
    return taps if taps.dtype == torch.float64 else taps.float()


def _portions(channels: int, n: int) -> Iterator[slice]:
    step = max(1, _STEP // n)
    return (slice(first, min(first + step, channels)) for first in range(0, channels, step))
