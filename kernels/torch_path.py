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
from genoconv.kernels.scripts import without_lock
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
# Work of one step, in bytes of spectra. CPU: of 0.25, 0.5 ... 4 MiB, 1 and 2 were fastest at 8 x 1,024, 32,768 and
# 160,000 samples (0.5: up to 15% slower); a GPU wants to be filled. Where more than two threads convolve, half of it
# each, which takes less memory.
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
    return _transform(taps[:, :kept], plan, working_dtype(dtype), length if kept < K else 0)


def _transform(taps: Tensor, plan: TransformPlan, dtype: torch.dtype, length: int) -> Spectrum:
    data = _scripted_spectra(taps, plan.n, plan.hop, plan.parts, step_bytes(taps.device), dtype)
    return Spectrum("torch", taps.shape[1], length, plan.n, plan.hop, data, dtype)


def _spectra(taps: Tensor, n: int, hop: int, parts: int, step_bytes: int, dtype: torch.dtype) -> Tensor:
    """The transforms of taps (H, K), cut into parts: (H, parts, n // 2 + 1)."""
    H, K = taps.shape
    part = K if parts == 1 else hop
    whole = K // part
    # Many transforms a call: for one alone, MKL takes longer to plan than to compute (8 times, at n = 32768).
    step = min(H, max(1, step_bytes // (parts * n * 4)))
    padded = torch.zeros(step, parts, n, dtype=dtype, device=taps.device)
    spectra: list[Tensor] = []
    for h in range(0, H, step):
        some = taps[h : h + step]
        room = padded[: len(some)]
        room[:, :whole, :part] = some[:, : whole * part].reshape(len(some), whole, part)
        if whole < parts:
            room[:, whole, : K - whole * part] = some[:, whole * part :]
        spectra.append(torch.fft.rfft(room))
    return spectra[0] if len(spectra) == 1 else torch.cat(spectra)


def convolve_taps(
    u: Tensor, taps: Tensor, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None, out: Tensor
) -> None:
    """As `convolve`, transforming the filters of some channels at a time: no more memory than one step needs."""
    if u.numel() == 0:
        return
    kept = min(taps.shape[1], u.shape[-1])
    plan = plan_transform(kept, u.shape[-1], u.device.type)
    _scripted_channels(
        u, taps[:, :kept].detach(), plan.n, plan.hop, plan.parts, skip, in_gate, out_gate, out,
        step_bytes(u.device), working_dtype(u.dtype),
    )  # fmt: skip


def convolve_channels(
    u: Tensor, taps: Tensor, n: int, hop: int, parts: int, skip: Tensor | None, in_gate: Tensor | None,
    out_gate: Tensor | None, out: Tensor, step_bytes: int, dtype: torch.dtype,
) -> None:  # fmt: skip
    """`convolve_taps` for a plan of n, hop and parts, in steps of some bytes; TorchScript can read it."""
    step = max(1, step_bytes // (parts * n * 4))
    for h in range(0, u.shape[1], step):
        to = h + step
        data = _spectra(taps[h:to], n, hop, parts, step_bytes, dtype)
        convolve_blocks(
            u[:, h:to], data, n, hop, None if skip is None else skip[h:to],
            None if in_gate is None else in_gate[:, h:to], None if out_gate is None else out_gate[:, h:to],
            out[:, h:to], step_bytes,
        )  # fmt: skip


def convolve(
    u: Tensor, spectrum: Spectrum, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None, out: Tensor
) -> None:
    """Writes the gated convolutions of u (B, H, L) into out, which may be u or a gate; bounded working memory."""
    if u.numel() == 0:
        return
    if spectrum.band is not None:
        _convolve_band(u, spectrum, skip, in_gate, out_gate, out)
        return
    step = step_bytes(u.device)
    _scripted_blocks(u, spectrum.data, spectrum.n, spectrum.hop, skip, in_gate, out_gate, out, step)


def convolve_blocks(
    u: Tensor, data: Tensor, n: int, hop: int, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None,
    out: Tensor, step_bytes: int,
) -> None:  # fmt: skip
    """`convolve` by spectra `data` (H, parts, n // 2 + 1), in steps of some bytes; TorchScript can read it."""
    B, H, L = u.shape
    blocks = -(-L // hop)
    fit = max(1, step_bytes // (blocks * n * 4))
    rows, channels = max(1, fit // H), min(H, fit)
    # n - hop zeros, and room for the signal up to a whole block.
    frames = torch.zeros(rows, channels, n - hop + blocks * hop, dtype=data.real.dtype, device=u.device)
    for b in range(0, B, rows):
        for h in range(0, H, channels):
            of, to = b + rows, h + channels
            _step(
                u[b:of, h:to], data[h:to], n, hop, None if skip is None else skip[h:to],
                None if in_gate is None else in_gate[b:of, h:to], None if out_gate is None else out_gate[b:of, h:to],
                out[b:of, h:to], frames[: min(rows, B - b), : min(channels, H - h)],
            )  # fmt: skip


def _step(
    u: Tensor, data: Tensor, n: int, hop: int, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None,
    out: Tensor, frames: Tensor,
) -> None:  # fmt: skip
    """Convolves a few channels, whose samples pass through `frames`."""
    L = u.shape[-1]
    x = frames[..., n - hop : n - hop + L]
    if in_gate is None:
        x.copy_(u)
    else:
        torch.mul(u.to(x.dtype), in_gate.to(x.dtype), out=x)
    frames[..., n - hop + L :] = 0.0
    blocks = torch.fft.rfft(frames.unfold(-1, n, hop))  # (B, H, blocks, n // 2 + 1)
    if data.shape[1] == 1:
        blocks *= data
    else:
        blocks = _sum_of_parts(blocks, data)
    y = torch.fft.irfft(blocks, n)[..., n - hop :]  # (B, H, blocks, hop)
    if skip is not None:  # into the frames, which hold the same samples, without the gaps between blocks
        room = frames[..., n - hop :].view(y.shape)
        y = torch.addcmul(y, room, skip.to(y.dtype)[:, None, None], out=room)
    y = y.flatten(-2)[..., :L]
    if out_gate is None:
        out.copy_(y)
    else:
        torch.mul(y, out_gate, out=out)


def _convolve_band(
    u: Tensor, spectrum: Spectrum, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None, out: Tensor
) -> None:
    """As `convolve`, by the low samples of signals; some channels at a time."""
    band = spectrum.band
    assert band is not None
    B, H, L = u.shape
    step = max(1, step_bytes(u.device) // (B * L * 4))
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


_scripted_spectra = without_lock(_spectra)
_scripted_channels = without_lock(convolve_channels)
_scripted_blocks = without_lock(convolve_blocks)


def differentiable(
    u: Tensor, taps: Tensor, skip: Tensor | None, in_gate: Tensor | None, out_gate: Tensor | None
) -> Tensor:
    """The convolution as one transform of operations that autograd knows; for training lengths."""
    L = u.shape[-1]
    dtype = working_dtype(u.dtype)
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


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Of the arithmetic: half precision is computed in float32: torch has no half-precision transforms on the CPU."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def step_bytes(device: torch.device, threads: int = 1) -> int:
    """Bytes of a step where so many threads convolve."""
    if device.type != "cpu":
        return _STEP_BYTES["cuda"]
    return _STEP_BYTES["cpu"] // (1 if threads <= 2 else 2)
