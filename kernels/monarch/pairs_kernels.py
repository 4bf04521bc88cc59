# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Both outer transforms of long signals in one pass: up to 32 x 16 rows of a few columns stay on chip between the two.

A signal is a matrix [NA, NB, M]. Planes hold its transform over the first two indices, [NA, NB, M] again, just as the
two outer passes of passes_kernels.py would leave it. Strides are in units of UNIT samples, as there.
"""

import triton
import triton.language as tl

from genoconv.kernels.monarch.pieces import (
    left_product,
    load_gated,
    load_scaled,
    multiply,
    multiply_conjugate,
    store_gated,
)


@triton.jit
def _turned(x, T1: tl.constexpr, T2: tl.constexpr, C: tl.constexpr):
    """A tile [T1, T2 * C] with its first two indices swapped, [T2, T1 * C], float16."""
    return tl.reshape(tl.permute(tl.reshape(x.to(tl.float16), (T1, T2, C)), (1, 0, 2)), (T2, T1 * C))


@triton.jit
def _ordered(x, T1: tl.constexpr, N: tl.constexpr, WARPS: tl.constexpr):
    """A tile [T1, N] from the order in which the threads of WARPS warps hold products of this shape."""
    x = tl.reshape(x, (T1 // 16, N // (8 * WARPS), WARPS, 8, 4, 2, 2))
    return tl.reshape(tl.permute(x, (0, 5, 3, 1, 2, 4, 6)), (T1, N))


@triton.jit
def _between(p, o_1, o_2, s_1, s_2, T1: tl.constexpr, T2: tl.constexpr, C: tl.constexpr):
    """The twiddle between the two transforms as a tile [T1, T2 * C], where C values are the same."""
    v = tl.load(p + o_1[:, None] * s_1 + o_2[None, :] * s_2)
    return tl.reshape(tl.broadcast_to(v[:, :, None], (T1, T2, C)), (T1, T2 * C))


@triton.jit
def _unpacked(packed, zero):
    """Real and imaginary part, float32, of pairs of float16 in int32.

    As `zero` changes for all that the compiler knows, pairs are unpacked where they are used and take one register.
    """
    packed = packed ^ zero
    real = (packed & 0xFFFF).to(tl.int16).to(tl.float16, bitcast=True)
    imaginary = (packed >> 16).to(tl.int16).to(tl.float16, bitcast=True)
    return real.to(tl.float32), imaginary.to(tl.float32)


@triton.jit(do_not_specialize=["H0", "NA", "NB", "SIGNALS", "STEPS", "CHUNKS"], do_not_specialize_on_alignment=["B"])
def pair_forward_kernel(
    u_ptr, in_gate_ptr, planes_ptr, first_ptr, second_ptr, between_ptr, twiddle_ptr, factor_ptr,
    u_b, u_h, i_b, i_h,
    PLANE, B, H0, L, NA, NB, M, SIGNALS, STEPS, CHUNKS, ZERO,
    TA: tl.constexpr, TB: tl.constexpr, C: tl.constexpr, UNIT: tl.constexpr, IN_GATED: tl.constexpr,
    SCALED: tl.constexpr, KEEP: tl.constexpr, WARPS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Real signals into planes (2, PLANE): C columns of a signal at a time, of STEPS signals.

    SCALED multiplies each channel by its factor, (H,), before it is rounded to float16. KEEP holds the twiddle in
    registers; otherwise it is read at each step, from addresses to which step * ZERO is added (ZERO is 0).

    Signals may be chunks of NA * NB * M samples: B is then rows of the batch times CHUNKS.
    """
    i_c = tl.program_id(0)
    o_a = tl.arange(0, TA)
    o_b = tl.arange(0, TB)
    o_bc = tl.arange(0, TB * C)
    o_ac = tl.arange(0, TA * C)
    o_f = o_a[:, None] * TA + o_a[None, :]
    ar = tl.load(first_ptr + o_f)
    ai = tl.load(first_ptr + TA * TA + o_f)
    o_f = o_b[:, None] * TB + o_b[None, :]
    br = tl.load(second_ptr + o_f)
    bi = tl.load(second_ptr + TB * TB + o_f)
    bm = tl.load(second_ptr + 2 * TB * TB + o_f)
    between = _between(between_ptr, o_a, o_b, TB, 1, TA, TB, C)
    p_w = twiddle_ptr + i_c * TA * TB * C + tl.arange(0, TA * TB * C)
    if KEEP:
        twiddle = _ordered(tl.load(p_w), TB, TA * C, WARPS)
    # In signals [na, (nb, c)], in planes [jb, (ja, c)].
    o_x = (o_a[:, None] * NB + (o_bc // C)[None, :]) * M + i_c * C + (o_bc % C)[None, :]
    there = (o_a[:, None] < NA) & ((o_bc // C)[None, :] < NB)
    o_z = ((o_ac // C)[None, :] * NB + o_b[:, None]) * M + i_c * C + (o_ac % C)[None, :]
    m_z = (o_b[:, None] < NB) & ((o_ac // C)[None, :] < NA)
    imaginary = PLANE.to(tl.int64)
    first = tl.program_id(1) * STEPS
    for step in tl.range(0, tl.minimum(STEPS, SIGNALS - first), num_stages=STAGES):
        signal = first + step
        b = (signal % B // CHUNKS).to(tl.int64)
        h = (H0 + signal // B).to(tl.int64)
        begin = signal % B % CHUNKS * (NA * NB * M)
        m_x = there & (o_x < L * UNIT - begin)
        p_u = u_ptr + (b * u_b + h * u_h) * UNIT + begin
        p_in = in_gate_ptr + (b * i_b + h * i_h) * UNIT + begin
        if SCALED:
            x = load_scaled(p_u, p_in, o_x, o_x, m_x, tl.load(factor_ptr + h), IN_GATED)
        else:
            x = load_gated(p_u, p_in, o_x, o_x, m_x, IN_GATED)
        vr, vi = _unpacked(between, step * ZERO)
        yr, yi = multiply(tl.dot(ar, x), tl.dot(ai, x), vr, vi)
        zr, zi = left_product(br, bi, bm, _turned(yr, TA, TB, C), _turned(yi, TA, TB, C))
        if not KEEP:
            twiddle = _ordered(tl.load(p_w + step * ZERO), TB, TA * C, WARPS)
        wr, wi = _unpacked(twiddle, step * ZERO)
        zr, zi = multiply(zr, zi, wr, wi)
        p_z = planes_ptr + signal.to(tl.int64) * NA * NB * M
        tl.store(p_z + o_z, zr.to(tl.float16), mask=m_z)
        tl.store(p_z + imaginary + o_z, zi.to(tl.float16), mask=m_z)


@triton.jit(do_not_specialize=["H0", "NA", "NB", "SIGNALS", "STEPS", "CHUNKS"], do_not_specialize_on_alignment=["B"])
def pair_inverse_kernel(
    planes_ptr, out_gate_ptr, y_ptr, second_gate_ptr, second_y_ptr, scale_ptr,
    first_ptr, second_ptr, between_ptr, twiddle_ptr,
    g_b, g_h, y_b, y_h, s_b, s_h,
    PLANE, B, H0, L, NA, NB, M, SIGNALS, STEPS, CHUNKS, ZERO,
    TA: tl.constexpr, TB: tl.constexpr, C: tl.constexpr, UNIT: tl.constexpr, OUT_GATED: tl.constexpr,
    SECOND: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Planes into real signals: the inverse of pair_forward_kernel, of which only the real part is wanted.

    SECOND writes it once more, times another gate, to where the strides are those of y.
    """
    i_c = tl.program_id(0)
    o_a = tl.arange(0, TA)
    o_b = tl.arange(0, TB)
    o_bc = tl.arange(0, TB * C)
    o_ac = tl.arange(0, TA * C)
    o_f = o_a[:, None] * TA + o_a[None, :]
    ar = tl.load(first_ptr + o_f)
    am = tl.load(first_ptr + 2 * TA * TA + o_f)
    o_f = o_b[:, None] * TB + o_b[None, :]
    br = tl.load(second_ptr + o_f)
    bi = tl.load(second_ptr + TB * TB + o_f)
    bm = tl.load(second_ptr + 2 * TB * TB + o_f)
    between = _between(between_ptr, o_b, o_a, 1, TB, TB, TA, C)
    o_y = (o_a[:, None] * NB + (o_bc // C)[None, :]) * M + i_c * C + (o_bc % C)[None, :]
    there = (o_a[:, None] < NA) & ((o_bc // C)[None, :] < NB)
    o_z = ((o_ac // C)[None, :] * NB + o_b[:, None]) * M + i_c * C + (o_ac % C)[None, :]
    m_z = (o_b[:, None] < NB) & ((o_ac // C)[None, :] < NA)
    twiddle = tl.load(twiddle_ptr + o_z, mask=m_z, other=0)
    imaginary = PLANE.to(tl.int64)
    first = tl.program_id(1) * STEPS
    for step in tl.range(0, tl.minimum(STEPS, SIGNALS - first), num_stages=STAGES):
        signal = first + step
        b = (signal % B // CHUNKS).to(tl.int64)
        h = (H0 + signal // B).to(tl.int64)
        begin = signal % B % CHUNKS * (NA * NB * M)
        m_y = there & (o_y < L * UNIT - begin)
        p_z = planes_ptr + signal.to(tl.int64) * NA * NB * M
        zr = tl.load(p_z + o_z, mask=m_z, other=0.0).to(tl.float32)
        zi = tl.load(p_z + imaginary + o_z, mask=m_z, other=0.0).to(tl.float32)
        wr, wi = _unpacked(twiddle, step * ZERO)
        zr, zi = multiply_conjugate(zr, zi, wr, wi)
        gr, gi = left_product(br, bi, bm, zr, zi)
        vr, vi = _unpacked(between, step * ZERO)
        gr, gi = multiply_conjugate(gr, gi, vr, vi)
        y = tl.dot(ar, _turned(gr, TB, TA, C))
        y = tl.dot(am, _turned(gi, TB, TA, C), y) * tl.load(scale_ptr + h)
        p_y = (b * y_b + h * y_h) * UNIT + begin
        p_gate = out_gate_ptr + (b * g_b + h * g_h) * UNIT + begin
        store_gated(y, y_ptr + p_y, p_gate, o_y, o_y, m_y, OUT_GATED)
        if SECOND:
            p_gate = second_gate_ptr + (b * s_b + h * s_h) * UNIT + begin
            store_gated(y, second_y_ptr + p_y, p_gate, o_y, o_y, m_y, True)
