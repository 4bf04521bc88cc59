"""The door to the convolutions: signals and filters in, gated causal convolutions out, by the best backend there is.

    y[b, h, t] = out_gate[b, h, t] * (sum_{j <= t} taps[h, j] x[b, h, t - j] + skip[h] x[b, h, t]),   x = u * in_gate

Shapes, dtypes and devices are checked here and nowhere else.
"""

from dataclasses import replace

import torch
from torch import Tensor

from genoconv.kernels import gradients, sparsity, torch_path, triton_path
from genoconv.kernels.backends import BACKENDS, HALF, TRITON_DTYPES, Precision, backend_for, choose, is_exact
from genoconv.kernels.spectrum import Spectrum
from genoconv.kernels.triton_path import ConvolutionOverflowError

__all__ = ["BACKENDS", "ConvolutionOverflowError", "backend_for", "fftconv", "prepare", "spectrum_bytes"]


def fftconv(
    u: Tensor,
    taps: Tensor | Spectrum,
    skip: Tensor | None = None,
    *,
    in_gate: Tensor | None = None,
    out_gate: Tensor | None = None,
    out: Tensor | None = None,
    backend: str = "auto",
    precision: Precision = "auto",
    check: bool = True,
) -> Tensor:
    """Convolves every channel causally with its own filter, which all rows of the batch share.

    Args:
        u: Signals, (B, H, L), any strides: float64 (torch backend only), float32, float16 or bfloat16.
        taps: Filters, (H, K), tap 0 first; K may be shorter or longer than L. Or their Spectrum, made by `prepare`.
        skip: Weight of the input itself, (H,).
        in_gate: Multiplies the input, shape of u.
        out_gate: Multiplies the output, shape of u.
        out: Where to write, shape and dtype of u; it may be u or a gate itself. Not with gradients.
        backend: "auto" or one of `BACKENDS`; `backend_for` tells what "auto" means. A Spectrum brings its own.
        precision: Of the Triton backend: "half" computes in float16 with float32 sums (errors of 3e-4 to 1e-3),
            "float32" in pairs of float16 (1e-6), "auto" in that of the signals. The torch backend computes in float32
            and more. A Spectrum brings its own.
        check: Triton backend: make sure that the result is finite. This waits for the device.

    Returns:
        The gated convolutions, (B, H, L), dtype of u. Differentiable in every tensor if taps is a tensor; in float32 by
        torch, whatever the backend.

    Raises:
        ValueError: Shapes, dtypes, devices or the backend do not fit.
        ConvolutionOverflowError: A value is not finite (Triton backend, if check is on).
    """
    _check_signals(u, taps, skip, in_gate, out_gate, out)
    exact = is_exact(u.dtype, precision)
    if isinstance(taps, Spectrum):
        name = taps.backend
    else:
        name = choose(backend, u.device, u.dtype, u.shape[-1], taps=taps.shape[1], precision=precision)
    if backend not in ("auto", name):
        raise ValueError(f"the spectrum was made for the {name} backend, not for {backend!r}")
    needs_grad = torch.is_grad_enabled() and any(
        isinstance(t, Tensor) and t.requires_grad for t in (u, taps, skip, in_gate, out_gate)
    )
    if needs_grad:
        if isinstance(taps, Spectrum) or out is not None:
            raise ValueError("gradients need the taps themselves, and no `out`: a Spectrum carries no gradient")
        if name == "triton" and u.numel() and not exact:
            return gradients.differentiable(u, taps, skip, in_gate, out_gate, check=check)
        return torch_path.differentiable(u, taps, skip, in_gate, out_gate)
    if out is None:
        out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    if name == "triton" and u.numel():
        if isinstance(taps, Tensor):
            taps = triton_path.prepare(taps, u.shape[-1], batch=u.shape[0], exact=exact)
        triton_path.convolve(u, taps, skip, in_gate, out_gate, out, check=check)
    elif isinstance(taps, Tensor):
        torch_path.convolve_taps(u, taps, skip, in_gate, out_gate, out)
    else:
        torch_path.convolve(u, taps, skip, in_gate, out_gate, out)
    return out


def prepare(
    taps: Tensor,
    length: int,
    *,
    dtype: torch.dtype | None = None,
    batch: int = 1,
    backend: str = "auto",
    precision: Precision = "auto",
    keep: float = 1.0,
) -> Spectrum:
    """Transforms filters once, for any number of convolutions with signals of up to `length` samples.

    Args:
        taps: Filters, (H, K).
        length: Longest signal in samples; the best size of transform is chosen for it.
        dtype: dtype of the signals to come; taps' own if left out.
        batch: Rows of the signals to come: the best plan for short signals depends on it.
        backend: "auto" or one of `BACKENDS`.
        precision: As for `fftconv`.
        keep: Part of all frequencies, the lowest, that the filters keep: 1, or 0.4 and less for a frequency-sparse
            convolution, which is faster and smaller, and no longer causal (see sparsity.py; `sparsity.keep_for` finds
            it for a tolerance). The Spectrum's `dropped` tells what each filter loses.

    Returns:
        The Spectrum. It serves shorter signals too, and longer ones if K <= length.

    Raises:
        ValueError: taps is not (H, K) with K >= 1, length < 1, or keep is out of range.
    """
    if taps.ndim != 2 or taps.shape[1] < 1:
        raise ValueError(f"taps must be (H, K) with K >= 1, not {tuple(taps.shape)}")
    if length < 1:
        raise ValueError(f"length must be at least 1, not {length}")
    dtype = taps.dtype if dtype is None else dtype
    if keep != 1.0:
        return _prepare_band(taps.detach(), length, sparsity.band_for(keep), dtype, batch, backend)
    if choose(backend, taps.device, dtype, length, taps=taps.shape[1], precision=precision) == "triton":
        return triton_path.prepare(taps, length, batch=batch, exact=is_exact(dtype, precision))
    return torch_path.prepare(taps.detach(), length, dtype=dtype)


def _prepare_band(
    taps: Tensor, length: int, band: sparsity.Band, dtype: torch.dtype, batch: int, backend: str
) -> Spectrum:
    # The low-pass looks ahead: so many taps beyond the signal's length matter as well.
    kept = taps[:, : length + sparsity.looks_ahead(band.keep)]
    low = sparsity.narrow(kept, band)
    if backend == "auto" and is_exact(dtype):
        backend = "torch"  # resampling by the Triton kernels is done in half precision
    spectrum = prepare(low, band.low_samples(length), dtype=dtype, batch=batch, backend=backend, precision="half")
    longest = 0 if spectrum.length == 0 and kept.shape == taps.shape else length
    return replace(spectrum, length=longest, band=band, dropped=sparsity.dropped(kept, band.keep).cpu())


def spectrum_bytes(
    channels: int,
    taps: int,
    length: int,
    device: torch.device | str = "cpu",
    *,
    dtype: torch.dtype = torch.float32,
    batch: int = 1,
    keep: float = 1.0,
) -> int:
    """Bytes of the Spectrum of `channels` filters of `taps` taps for signals (batch, channels, length) of a dtype.

    float32: that of the torch backend (the other's is about as large); float16 and bfloat16: the Triton backend's.
    `keep` as for `prepare`.
    """
    if keep != 1.0:
        band = sparsity.band_for(keep)
        taps, length = band.low_taps(min(taps, length + sparsity.looks_ahead(keep))), band.low_samples(length)
    if dtype in HALF:
        return triton_path.spectrum_bytes(channels, taps, length, batch)
    plan = torch_path.plan_transform(min(taps, length), length, torch.device(device).type)
    return channels * plan.parts * (plan.n // 2 + 1) * 8


def _check_signals(
    u: Tensor,
    taps: Tensor | Spectrum,
    skip: Tensor | None,
    in_gate: Tensor | None,
    out_gate: Tensor | None,
    out: Tensor | None,
) -> None:
    """Raises ValueError unless all operands fit together."""
    if u.ndim != 3 or not u.is_floating_point():
        raise ValueError(f"u must be (B, H, L) and real floating point, not {tuple(u.shape)} {u.dtype}")
    H, L = u.shape[1:]
    if isinstance(taps, Spectrum):
        wanted = torch.float64 if u.dtype == torch.float64 else torch.float32
        if taps.backend == "triton" and u.dtype in TRITON_DTYPES:
            wanted = taps.dtype
        if taps.channels != H or taps.dtype != wanted or taps.device != u.device:
            raise ValueError(
                f"the spectrum has {taps.channels} channels of {taps.dtype} on {taps.device}, "
                f"but u has {H} channels and needs {wanted} on {u.device}"
            )
        if taps.length and taps.length < L:
            raise ValueError(f"the spectrum was made for signals of up to {taps.length} samples, but u has {L}")
    elif taps.ndim != 2 or taps.shape[0] != H or taps.shape[1] < 1:
        raise ValueError(f"taps must be ({H}, K) with K >= 1, not {tuple(taps.shape)}")
    if skip is not None and skip.shape != (H,):
        raise ValueError(f"skip must be ({H},), not {tuple(skip.shape)}")
    for name, tensor in (("in_gate", in_gate), ("out_gate", out_gate), ("out", out)):
        if tensor is not None and tensor.shape != u.shape:
            raise ValueError(f"{name} must have u's shape {tuple(u.shape)}, not {tuple(tensor.shape)}")
    if out is not None and out.dtype != u.dtype:
        raise ValueError(f"out must have u's dtype {u.dtype}, not {out.dtype}")
