# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Filters on their way into spectra and back: turned, reordered, scaled and rounded, around a transform by torch.

Natural order is that of a transform: bin j of n. With factors (F0, F1, N1, N2), where F0 and F1 may be 1, bin
((j3 N1 + j2) F1 + j1) F0 + j0 is value (j2, j3) of stretch (j0, j1) in the order of the convolutions' kernels; if that
is HALVED, value (halved_row(j2), halved_column(j3)). Spectra in float16 are stored by `spectrum_place` within a
stretch, all else row by row. Complex numbers in natural order are float32, real and imaginary part side by side.
"""

import triton
import triton.language as tl

from genoconv.kernels.monarch.pieces import halved_column, halved_row, spectrum_place


@triton.jit
def _turn(k, N):
    """Cosine and sine of a quarter turn times k / N."""
    angle = k.to(tl.float32) / N * 1.5707963267948966
    return tl.cos(angle), tl.sin(angle)


@triton.jit(do_not_specialize=["K"])
def turn_kernel(taps_ptr, z_ptr, t_h, t_k, K, N, SIZE: tl.constexpr):
    """Part d of filter h, times exp(2 pi i k / (4 N)), into (H, D, N) complex, zero from tap K on."""
    h = tl.program_id(1).to(tl.int64)
    d = tl.program_id(2)
    k = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    mask = k < N
    o = (d * N + k).to(tl.int64)
    x = tl.load(taps_ptr + h * t_h + o * t_k, mask=mask & (o < K), other=0.0).to(tl.float32)
    c, s = _turn(k, N)
    p_z = z_ptr + ((h * tl.num_programs(2) + d) * N + k) * 2
    tl.store(p_z, x * c, mask=mask)
    tl.store(p_z + 1, x * s, mask=mask)


@triton.jit
def turn_back_kernel(z_ptr, lags_ptr, factor_ptr, K, N, SIZE: tl.constexpr):
    """The real parts of z (H, N) times exp(-2 pi i k / (4 N)) / factor, of which the first K: (H, K)."""
    h = tl.program_id(1).to(tl.int64)
    k = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    mask = k < K
    p_z = z_ptr + (h * N + k) * 2
    c, s = _turn(k, N)
    x = tl.load(p_z, mask=mask, other=0.0) * c + tl.load(p_z + 1, mask=mask, other=0.0) * s
    x = x / tl.load(factor_ptr + h)
    tl.store(lags_ptr + h * K + k, x.to(lags_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _stretch(r, F0, F1):
    """The stretch to which bins r, r + n / N2, r + 2 n / N2 ... belong; they are its row r // (F0 F1)."""
    return ((r % F0) * F1 + (r // F0) % F1).to(tl.int64)


@triton.jit(do_not_specialize=["D", "F0", "F1", "N1"])
def pack_kernel(
    z_ptr, most_ptr, data_ptr, scale_ptr, ROOM, GAIN, D, F0, F1, N1, REST,
    N2: tl.constexpr, SIZE: tl.constexpr, HALVED: tl.constexpr,
):  # fmt: skip
    """Spectra (H, D, N) in natural order into (H, D, stretches, 2, N1 * N2); SIZE * N2 bins, REST = N / N2.

    Those in float16 are stored by `spectrum_place`, those in float32 row by row.

    They are multiplied by GAIN times a power of two that brings the largest part, most (H,) (at least 1), just under
    ROOM; the power's inverse goes to scale (H,).
    """
    h = tl.program_id(1).to(tl.int64)
    d = tl.program_id(2)
    r = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    j = tl.arange(0, N2)
    mask = (r < REST)[:, None] & (j >= 0)[None, :]
    wanted = ROOM / tl.maximum(tl.load(most_ptr + h), 1.0)
    power = (wanted.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True)
    tl.store(scale_ptr + h, 1.0 / power)
    P = N1 * N2
    z = z_ptr + ((h * D + d) * REST * N2 + j[None, :].to(tl.int64) * REST + r[:, None]) * 2
    o = (h * D + d) * 2 * REST * N2 + _stretch(r, F0, F1)[:, None] * 2 * P
    row = (r // (F0 * F1))[:, None]
    column = j[None, :]
    if HALVED:
        row = halved_row(row)
        column = halved_column(column, N2)
    if data_ptr.dtype.element_ty == tl.float16:
        o += spectrum_place(row, column)
    else:
        o += row * N2 + column
    tl.store(data_ptr + o, (tl.load(z, mask=mask, other=0.0) * (power * GAIN)).to(data_ptr.dtype.element_ty), mask=mask)
    tl.store(
        data_ptr + o + P,
        (tl.load(z + 1, mask=mask, other=0.0) * (power * GAIN)).to(data_ptr.dtype.element_ty),
        mask=mask,
    )


@triton.jit
def unpack_kernel(
    product_ptr, z_ptr, PARTS, F0, F1, N1, REST, N2: tl.constexpr, SIZE: tl.constexpr, HALVED: tl.constexpr
):  # fmt: skip
    """The sum of PARTS products (PARTS, H, stretches, 2, N1, N2) float32 into natural order, (H, N) complex."""
    h = tl.program_id(1).to(tl.int64)
    r = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    j = tl.arange(0, N2)
    mask = (r < REST)[:, None] & (j >= 0)[None, :]
    P = N1 * N2
    row = (r // (F0 * F1))[:, None]
    column = j[None, :]
    if HALVED:
        row = halved_row(row)
        column = halved_column(column, N2)
    o = h * 2 * REST * N2 + _stretch(r, F0, F1)[:, None] * 2 * P + row * N2 + column
    real = tl.zeros((SIZE, N2), dtype=tl.float32)
    imaginary = tl.zeros((SIZE, N2), dtype=tl.float32)
    for part in range(PARTS):
        p = product_ptr + tl.num_programs(1).to(tl.int64) * part * 2 * REST * N2 + o
        real += tl.load(p, mask=mask, other=0.0)
        imaginary += tl.load(p + P, mask=mask, other=0.0)
    z = z_ptr + (h * REST * N2 + j[None, :].to(tl.int64) * REST + r[:, None]) * 2
    tl.store(z, real, mask=mask)
    tl.store(z + 1, imaginary, mask=mask)
