# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Signals too long for a chip: outer transforms over strided columns, a convolution of each row, and the way back.

A signal is a matrix [N1, M] of N1 rows. Planes are the real and imaginary parts of its transform, float16, one row of
the planes for each signal of a group of channels: row (h - H0) * B + b.

Strides and lengths of signals are given in units of UNIT samples (8 wherever possible), so that the compiler knows that
rows start at multiples of 16 bytes.
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
def _rows(step, o_j, N1, SIGNALS, PACK: tl.constexpr):
    """For each row of a tile: the signal and the row of that signal it is, and whether there is one.

    A tile holds the N1 rows of one signal, or of PACK signals one below the other if N1 is small. Signals are counted
    in int32: a division of int64 takes as long as the rest of a tile.
    """
    if PACK == 1:
        signal = step
        n1 = o_j
        mask = o_j < N1
    else:
        signal = step * PACK + o_j // N1
        n1 = o_j % N1
        mask = (o_j < PACK * N1) & (signal < SIGNALS)
    return signal, n1, mask


@triton.jit(do_not_specialize=["H0", "N1", "SIGNALS", "STEPS"], do_not_specialize_on_alignment=["B", "CHUNKS"])
def outer_forward_kernel(
    u_ptr, in_gate_ptr, real_ptr, imaginary_ptr, matrix_ptr, twiddle_ptr, factor_ptr,
    u_b, u_h, i_b, i_h,
    B, H0, L, N1, M, SIGNALS, STEPS, CHUNKS,
    T1: tl.constexpr, C: tl.constexpr, PACK: tl.constexpr, UNIT: tl.constexpr, IN_GATED: tl.constexpr,
    SCALED: tl.constexpr, HISTORY: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Real signals into planes: C columns of PACK signals at a time, STEPS times.

    The transform over the N1 rows is one product with a (T1, T1) matrix, whose rows carry the twiddle of the first of
    the C columns; the rest of the twiddle is the same for all column tiles. SCALED multiplies each channel by its
    factor, (H,), before it is rounded to float16.

    Signals may be chunks of N1 * M samples: B is then rows of the batch times CHUNKS. With HISTORY the imaginary part
    of each is minus the chunk before: what that one adds to this one's result, it adds by itself.
    """
    i_a = tl.program_id(0)
    i_r = tl.program_id(1)
    o_j = tl.arange(0, T1)
    o_c = tl.arange(0, C)
    o_a = i_a.to(tl.int64) * 3 * T1 * T1 + o_j[:, None] * T1 + o_j[None, :]
    ar = tl.load(matrix_ptr + o_a)
    ai = tl.load(matrix_ptr + T1 * T1 + o_a)
    o_w = o_j[:, None] * C + o_c[None, :]
    wr = tl.load(twiddle_ptr + o_w)
    wi = tl.load(twiddle_ptr + T1 * C + o_w)
    for step in tl.range(0, tl.minimum(STEPS, tl.cdiv(SIGNALS, PACK) - i_r * STEPS), num_stages=STAGES):
        signal, n1, there = _rows(i_r * STEPS + step, o_j[:, None], N1, SIGNALS, PACK)
        o_x = n1 * M + i_a * C + o_c[None, :]
        o_z = signal.to(tl.int64) * N1 * M + o_x
        m_z = there & (o_c[None, :] >= 0)
        b = ((signal % B) // CHUNKS).to(tl.int64)
        h = (H0 + signal // B).to(tl.int64)
        o_t = (signal % B) % CHUNKS * N1 * M + o_x
        m_x = m_z & (o_t < L * UNIT)
        o_u = (b * u_b + h * u_h) * UNIT + o_t
        o_in = (b * i_b + h * i_h) * UNIT + o_t
        if SCALED:
            factor = tl.load(factor_ptr + tl.where(there, h, 0))
            x = load_scaled(u_ptr, in_gate_ptr, o_u, o_in, m_x, factor, IN_GATED)
        else:
            x = load_gated(u_ptr, in_gate_ptr, o_u, o_in, m_x, IN_GATED)
        if HISTORY:
            m_p = m_z & (o_t >= N1 * M)
            p = load_gated(u_ptr, in_gate_ptr, o_u - N1 * M, o_in - N1 * M, m_p, IN_GATED)
            zr, zi = multiply(tl.dot(ai, p, tl.dot(ar, x)), tl.dot(ar, -p, tl.dot(ai, x)), wr, wi)
        else:
            zr, zi = multiply(tl.dot(ar, x), tl.dot(ai, x), wr, wi)
        tl.store(real_ptr + o_z, zr.to(tl.float16), mask=m_z)
        tl.store(imaginary_ptr + o_z, zi.to(tl.float16), mask=m_z)


@triton.jit(do_not_specialize=["N1", "SIGNALS", "STEPS"])
def middle_kernel(
    real_ptr, imaginary_ptr, matrix_ptr, twiddle_ptr,
    N1, M, SIGNALS, STEPS,
    T1: tl.constexpr, C: tl.constexpr, PACK: tl.constexpr, INVERSE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Planes into planes, in place: one more outer transform (or its inverse) of every row of N1 * M values."""
    i_a = tl.program_id(0)
    i_r = tl.program_id(1)
    o_j = tl.arange(0, T1)
    o_c = tl.arange(0, C)
    o_a = i_a.to(tl.int64) * 3 * T1 * T1 + o_j[:, None] * T1 + o_j[None, :]
    ar = tl.load(matrix_ptr + o_a)
    ai = tl.load(matrix_ptr + T1 * T1 + o_a)
    am = tl.load(matrix_ptr + 2 * T1 * T1 + o_a)
    o_w = o_j[:, None] * C + o_c[None, :]
    wr = tl.load(twiddle_ptr + o_w)
    wi = tl.load(twiddle_ptr + T1 * C + o_w)
    for step in tl.range(0, tl.minimum(STEPS, tl.cdiv(SIGNALS, PACK) - i_r * STEPS), num_stages=STAGES):
        signal, n1, there = _rows(i_r * STEPS + step, o_j[:, None], N1, SIGNALS, PACK)
        o_x = n1 * M + i_a * C + o_c[None, :]
        o_z = signal.to(tl.int64) * N1 * M + o_x
        m_z = there & (o_c[None, :] >= 0)
        xr = tl.load(real_ptr + o_z, mask=m_z, other=0.0)
        xi = tl.load(imaginary_ptr + o_z, mask=m_z, other=0.0)
        if INVERSE:
            xr, xi = multiply_conjugate(xr.to(tl.float32), xi.to(tl.float32), wr, wi)
        zr, zi = left_product(ar, ai, am, xr, xi)
        if not INVERSE:
            zr, zi = multiply(zr, zi, wr, wi)
        tl.store(real_ptr + o_z, zr.to(tl.float16), mask=m_z)
        tl.store(imaginary_ptr + o_z, zi.to(tl.float16), mask=m_z)


@triton.jit(do_not_specialize=["H0", "N1", "SIGNALS", "STEPS"], do_not_specialize_on_alignment=["B", "CHUNKS"])
def outer_inverse_kernel(
    real_ptr, imaginary_ptr, out_gate_ptr, y_ptr, second_gate_ptr, second_ptr, scale_ptr, matrix_ptr, twiddle_ptr,
    o_b, o_h, y_b, y_h, s_b, s_h,
    B, H0, L, N1, M, SIGNALS, STEPS, CHUNKS,
    T1: tl.constexpr, C: tl.constexpr, PACK: tl.constexpr, UNIT: tl.constexpr, OUT_GATED: tl.constexpr,
    SECOND: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Planes into real signals: the inverse of outer_forward_kernel, of which only the real part is wanted.

    SECOND writes it once more, times another gate, to where the strides are those of y.
    """
    i_a = tl.program_id(0)
    i_r = tl.program_id(1)
    o_j = tl.arange(0, T1)
    o_c = tl.arange(0, C)
    o_a = i_a.to(tl.int64) * 3 * T1 * T1 + o_j[:, None] * T1 + o_j[None, :]
    ar = tl.load(matrix_ptr + o_a)
    am = tl.load(matrix_ptr + 2 * T1 * T1 + o_a)
    o_w = o_j[:, None] * C + o_c[None, :]
    wr = tl.load(twiddle_ptr + o_w)
    wi = tl.load(twiddle_ptr + T1 * C + o_w)
    for step in tl.range(0, tl.minimum(STEPS, tl.cdiv(SIGNALS, PACK) - i_r * STEPS), num_stages=STAGES):
        signal, n1, there = _rows(i_r * STEPS + step, o_j[:, None], N1, SIGNALS, PACK)
        o_x = n1 * M + i_a * C + o_c[None, :]
        o_z = signal.to(tl.int64) * N1 * M + o_x
        m_z = there & (o_c[None, :] >= 0)
        zr = tl.load(real_ptr + o_z, mask=m_z, other=0.0)
        zi = tl.load(imaginary_ptr + o_z, mask=m_z, other=0.0)
        gr, gi = multiply_conjugate(zr.to(tl.float32), zi.to(tl.float32), wr, wi)
        y = tl.dot(ar, gr.to(tl.float16))
        y = tl.dot(am, gi.to(tl.float16), y)
        b = ((signal % B) // CHUNKS).to(tl.int64)
        h = (H0 + signal // B).to(tl.int64)
        if PACK == 1:
            y *= tl.load(scale_ptr + h)
        else:
            y *= tl.load(scale_ptr + tl.where(there, h, 0))
        o_t = (signal % B) % CHUNKS * N1 * M + o_x
        o_y = (b * y_b + h * y_h) * UNIT + o_t
        o_out = (b * o_b + h * o_h) * UNIT + o_t
        m_y = m_z & (o_t < L * UNIT)
        store_gated(y, y_ptr, out_gate_ptr, o_y, o_out, m_y, OUT_GATED)
        if SECOND:
            store_gated(y, second_ptr, second_gate_ptr, o_y, (b * s_b + h * s_h) * UNIT + o_t, m_y, True)
