"""The backend in plain torch: signals pass through rfft, a product with the filters' spectrum, and irfft.

A signal is cut into blocks of `hop` new samples, each transformed together with the samples before it (overlap-save).
Filters much shorter than the signal take one part: their transform covers all taps. Long filters are cut into parts
of `hop` taps as well, and the spectrum of output block i is the sum over parts p of filter part p times input block
i - p (partitioned convolution): more products, but each transform stays in the cache, which on a CPU is worth more.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from genoconv.kernels import sparsity
from genoconv.kernels.spectrum import Spectrum

# Nanoseconds per sample of rfft + irfft in float32, one thread of an AMD EPYC (Zen 4), MKL 2024.2, by log2 of the
# size; sizes 3 * 2^a and 5 * 2^a were 1.1 to 1.35 times as dear. From 2^20 up a transform leaves the caches for good.
_CPU_NS = {
    8: 2.6, 9: 2.4, 10: 2.3, 11: 2.2, 12: 2.1, 13: 2.35, 14: 2.6, 15: 2.95,
    16: 3.6, 17: 4.0, 18: 5.6, 19: 7.5, 20: 26.0,
}  # fmt: skip
_SIZES = sorted(odd << shift for odd in (1, 3, 5) for shift in range(4, 32))
_CPU_ODD_FACTOR = 1.25
# Nanoseconds per complex multiply-add of torch.addcmul on spectra that lie in cache (measured on the same machine).
_CPU_PRODUCT_NS = 0.51
# Work of one step, in bytes of spectra. CPU: of 2, 4 ... 64 MiB, 4 was fastest or within 5% of it from 32K to 1M
# samples (16: 10 to 50% slower); a GPU wants to be filled.
_STEP_BYTES = {"cpu": 1 << 20, "cuda": 256 << 20}


@dataclass(frozen=True, slots=True)
class TransformPlan:
    """How a filter of some taps is cut and transformed: `n` samples a transform, `hop` new ones each, `parts` parts."""

    n: int
    hop: int
    parts: int


@lru_cache(maxsize=4096)
def plan_transform(taps: int, length: int, device_type: str = "cpu") -> TransformPlan:
    """The cheapest plan for a signal of `length` samples and a filter of `taps` <= `length` taps, by the cost rule."""
    return min(_candidates(taps, length, device_type), key=lambda plan: _cost(plan, length, device_type))


def _candidates(taps: int, length: int, device_type: str) -> list[TransformPlan]:
    whole = _whole(taps, length)
    plans = [TransformPlan(n, n - taps + 1, 1) for n in _SIZES if taps <= n <= whole]
    if device_type == "cpu":
        plans += [TransformPlan(n, n // 2, -(-taps // (n // 2))) for n in _SIZES if 1024 <= n < 2 * taps]
    return plans


def _whole(taps: int, length: int) -> int:
    """The smallest size that holds the whole convolution without wrapping around."""
    return next(n for n in _SIZES if n >= length + taps - 1)


def _cost(plan: TransformPlan, length: int, device_type: str) -> float:
    """Nanoseconds per channel and row (on a GPU: samples that are transformed, with a charge for each level)."""
    blocks = -(-length // plan.hop)
    log2 = plan.n.bit_length() - 1
    if device_type != "cpu":
        return blocks * plan.n * (log2 + 10.0)
    per_sample = _CPU_NS[min(max(log2, min(_CPU_NS)), max(_CPU_NS))]
    if plan.n & (plan.n - 1):
        per_sample *= _CPU_ODD_FACTOR
    products = sum(min(i + 1, plan.parts) for i in range(blocks)) if plan.parts > 1 else blocks
    return blocks * plan.n * per_sample + products * (plan.n // 2 + 1) * _CPU_PRODUCT_NS


def prepare(taps: Tensor, length: int, *, dtype: torch.dtype) -> Spectrum:
    """Cuts and transforms filters (H, K) for signals of up to `length` samples."""
    K = taps.shape[1]
    kept = min(K, length)
    plan = plan_transform(kept, length, taps.device.type)
    return _transform(taps[:, :kept], plan, _working(dtype), length if kept < K else 0)


def _transform(taps: Tensor, plan: TransformPlan, dtype: torch.dtype, length: int) -> Spectrum:
    H, K = taps.shape
    part = K if plan.parts == 1 else plan.hop
    whole = K // part
    # Many transforms a call: for one alone, MKL takes longer to plan than to compute (8 times, at n = 32768).
    step = min(H, max(1, _STEP_BYTES[_kind(taps)] // (plan.parts * plan.n * 4)))
    padded = torch.zeros(step, plan.parts, plan.n, dtype=dtype, device=taps.device)
    spectra = []
    for h in range(0, H, step):
        some = taps[h : h + step]
        room = padded[: len(some)]
        room[:, :whole, :part] = some[:, : whole * part].reshape(len(some), whole, part)
        if whole < plan.parts:
            room[:, whole, : K - whole * part] = some[:, whole * part :]
        spectra.append(torch.fft.rfft(room))
    data = spectra[0] if len(spectra) == 1 else torch.cat(spectra)
    return Spectrum("torch", K, length, plan.n, plan.hop, data, dtype)


def convolve_taps(
    u: Tensor, taps: Tensor, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None, out: Tensor
) -> None:
    """As `convolve`, transforming the filters of some channels at a time: no more memory than one step needs."""
    H, L = u.shape[1:]
    if u.numel() == 0:
        return
    kept = min(taps.shape[1], L)
    plan = plan_transform(kept, L, u.device.type)
    step = max(1, _STEP_BYTES[_kind(u)] // (plan.parts * plan.n * 4))
    for h in range(0, H, step):
        block = slice(h, h + step)
        spectrum = _transform(taps[block, :kept].detach(), plan, _working(u.dtype), 0)
        convolve(
            u[:, block], spectrum, _cut(skip, block), _cut(in_gate, (slice(None), block)),
            _cut(out_gate, (slice(None), block)), out[:, block],
        )  # fmt: skip


def convolve(
    u: Tensor, spectrum: Spectrum, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None, out: Tensor
) -> None:
    """Writes the gated convolutions of u (B, H, L) into out, which may be u or a gate; bounded working memory."""
    B, H, L = u.shape
    if u.numel() == 0:
        return
    if spectrum.band is not None:
        _convolve_band(u, spectrum, skip, in_gate, out_gate, out)
        return
    blocks = -(-L // spectrum.hop)
    fit = max(1, _STEP_BYTES[_kind(u)] // (blocks * spectrum.n * 4))
    rows, channels = max(1, fit // H), min(H, fit)
    frames = torch.zeros(
        rows, channels, spectrum.n - spectrum.hop + blocks * spectrum.hop, dtype=spectrum.dtype, device=u.device
    )
    for b in range(0, B, rows):
        for h in range(0, H, channels):
            at = (slice(b, b + rows), slice(h, h + channels))
            _step(
                u[at], spectrum[at[1]], _cut(skip, at[1]), _cut(in_gate, at), _cut(out_gate, at), out[at],
                frames[: min(rows, B - b), : min(channels, H - h)],
            )  # fmt: skip


def _step(
    u: Tensor,
    spectrum: Spectrum,
    skip: Tensor | None,
    in_gate: Tensor | None,
    out_gate: Tensor | None,
    out: Tensor,
    frames: Tensor,
) -> None:
    """Convolves a few channels; `frames` is n - hop zeros, and room for the signal up to a whole block."""
    n, hop, L = spectrum.n, spectrum.hop, u.shape[-1]
    x = frames[..., n - hop : n - hop + L]
    x.copy_(u) if in_gate is None else torch.mul(u.to(x.dtype), in_gate.to(x.dtype), out=x)
    frames[..., n - hop + L :] = 0.0
    blocks: Tensor = torch.fft.rfft(frames.unfold(-1, n, hop))  # (B, H, blocks, n // 2 + 1)
    if spectrum.data.shape[1] == 1:
        blocks *= spectrum.data
    else:
        blocks = _sum_of_parts(blocks, spectrum.data)
    y: Tensor = torch.fft.irfft(blocks, n)[..., n - hop :]  # (B, H, blocks, hop)
    if skip is not None:  # into the frames, which hold the same samples, without the gaps between blocks
        room = frames[..., n - hop :].view(y.shape)
        y = torch.addcmul(y, room, skip.to(y.dtype)[:, None, None], out=room)
    y = y.flatten(-2)[..., :L]
    out.copy_(y) if out_gate is None else torch.mul(y, out_gate, out=out)


def _convolve_band(
    u: Tensor, spectrum: Spectrum, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None, out: Tensor
) -> None:
    """As `convolve`, by the low samples of signals; some channels at a time."""
    band = spectrum.band
    assert band is not None
    B, H, L = u.shape
    step = max(1, _STEP_BYTES[_kind(u)] // (B * L * 4))
    for h in range(0, H, step):
        at = (slice(None), slice(h, h + step))
        x = u[at].to(spectrum.dtype)
        if in_gate is not None:
            x = x * in_gate[at].to(x.dtype)
        low = sparsity.decimate(x, band)
        convolve(low, replace(spectrum[at[1]], band=None), None, None, None, low)
        y = sparsity.interpolate(low, band, L)
        if skip is not None:
            y = y.addcmul_(x, skip[at[1]].to(x.dtype)[:, None])
        out[at].copy_(y if out_gate is None else y.mul_(out_gate[at]))


def _sum_of_parts(blocks: Tensor, parts: Tensor) -> Tensor:
    """Spectra of the output blocks: block i is the sum over p <= i of filter part p times input block i - p."""
    count = blocks.shape[2]
    total: Tensor = blocks * parts[:, :1]
    for p in range(1, min(count, parts.shape[1])):
        total[:, :, p:].addcmul_(blocks[:, :, : count - p], parts[:, p : p + 1])
    return total


def differentiable(
    u: Tensor, taps: Tensor, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None
) -> Tensor:
    """The convolution as one transform of operations that autograd knows; for training lengths."""
    L = u.shape[-1]
    dtype = _working(u.dtype)
    if u.numel() == 0:
        return u + 0.0 * taps.sum().to(u.dtype)
    kept = min(taps.shape[-1], L)
    n = _whole(kept, L)
    x = u.to(dtype) if in_gate is None else u.to(dtype) * in_gate.to(dtype)
    y: Tensor = torch.fft.irfft(torch.fft.rfft(x, n) * torch.fft.rfft(taps[:, :kept].to(dtype), n), n)[..., :L]
    if skip is not None:
        y = y + skip.to(dtype)[:, None] * x
    if out_gate is not None:
        y = y * out_gate.to(dtype)
    return y.to(u.dtype)


def _working(dtype: torch.dtype) -> torch.dtype:
    """Half precision is computed in float32: torch has no half-precision transforms on the CPU."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _kind(u: Tensor) -> str:
    return "cpu" if u.device.type == "cpu" else "cuda"


def _cut(tensor: Tensor | None, at: slice | tuple[slice, slice]) -> Tensor | None:
    return None if tensor is None else tensor[at]
