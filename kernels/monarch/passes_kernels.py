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
    load_spectrum,
    multiply,
    multiply_conjugate,
    stack,
    store_gated,
    whole_left_product,
    whole_right_product,
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
    SCALED: tl.constexpr, HISTORY: tl.constexpr,
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
    for step in tl.range(0, tl.minimum(STEPS, tl.cdiv(SIGNALS, PACK) - i_r * STEPS), num_stages=2):
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
    T1: tl.constexpr, C: tl.constexpr, PACK: tl.constexpr, INVERSE: tl.constexpr,
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
    for step in tl.range(0, tl.minimum(STEPS, tl.cdiv(SIGNALS, PACK) - i_r * STEPS), num_stages=2):
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


@triton.jit
def _stretch(t, B, NJ):
    """Where stretch t of the work lies in the planes: work goes by channel, stretch, row; planes by channel and row."""
    hj = t // B
    return ((hj // NJ) * B + t % B).to(tl.int64) * NJ + hj % NJ


@triton.jit(do_not_specialize=["H0", "NJ", "STEPS", "TOTAL"], do_not_specialize_on_alignment=["B"])
def inner_kernel(
    planes_ptr, spectrum_ptr, skip_ptr, left_ptr, right_ptr, twiddle_ptr,
    PLANE, B, H0, NJ, STEPS, TOTAL, ZERO,
    N1: tl.constexpr, N2: tl.constexpr, GAIN: tl.constexpr, SKIP: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Planes (2, PLANE) into planes, in place: every stretch of N1 * N2 values convolved with its part of the spectrum.

    Stretch j (of NJ) of all B rows of a channel are done one after the other, while their spectrum is in the cache. The
    spectrum is larger by GAIN than the results are meant to be; skip_ptr (H,) is in the units of the results.

    Complex products are single products of stacked parts, as each one is waited for; and the way back is the conjugate
    of the way forth, so that it takes the same matrices, as these take room.

    KEEP holds the twiddle, which is in the order of spectra, in registers. Otherwise it is read twice at each step,
    from addresses to which step * ZERO is added (ZERO is 0, but the compiler does not know), and the spectrum early.
    """
    P: tl.constexpr = N1 * N2
    i_c = tl.program_id(0)
    o_1 = tl.arange(0, N1)
    o_2 = tl.arange(0, N2)
    o_11 = tl.arange(0, 2 * N1)
    o_p = o_1[:, None] * N2 + o_2[None, :]
    imaginary = PLANE.to(tl.int64)
    o_x = (o_11[:, None] // N1) * imaginary + (o_11[:, None] % N1) * N2 + o_2[None, :]
    left = tl.load(left_ptr + o_11[:, None] * (2 * N1) + o_11[None, :])
    if N1 == N2:
        right = tl.trans(left)
    else:
        o_22 = tl.arange(0, 2 * N2)
        right = tl.load(right_ptr + o_22[:, None] * (2 * N2) + o_22[None, :])
    if KEEP:
        tr, ti = load_spectrum(twiddle_ptr, N1, N2)
    first = i_c * STEPS
    next_z = planes_ptr + _stretch(first, B, NJ) * P
    next_x = tl.load(next_z + o_x)
    for step in tl.range(0, tl.minimum(STEPS, TOTAL - first), num_stages=1):
        t = first + step
        hj = t // B
        h = hj // NJ
        p_z = next_z
        p_k = spectrum_ptr + ((H0 + h).to(tl.int64) * NJ + hj % NJ) * 2 * P
        if not KEEP:
            kr, ki = load_spectrum(p_k, N1, N2)
            tr, ti = load_spectrum(twiddle_ptr + step * ZERO, N1, N2)
        ar, ai = whole_left_product(left, next_x, N1, N2)
        # The next stretch is on its way while this one is worked on (4.4 against 4.9 ps a sample at 64 x 32, H200).
        next_z = planes_ptr + _stretch(tl.minimum(t + 1, TOTAL - 1), B, NJ) * P
        next_x = tl.load(next_z + o_x)
        br, bi = multiply(ar, ai, tr, ti)
        ur, ui = whole_right_product(br, bi, right, N1, N2)
        if KEEP:
            kr, ki = load_spectrum(p_k, N1, N2)
        kr = kr.to(tl.float32) * (1.0 / GAIN)
        ki = ki.to(tl.float32) * (-1.0 / GAIN)
        if SKIP:
            kr += tl.load(skip_ptr + H0 + h)
        # From here on conjugates.
        dr, di = multiply_conjugate(kr, ki, ur, ui)
        er, ei = whole_right_product(dr, di, right, N1, N2)
        if not KEEP:
            tr, ti = load_spectrum(twiddle_ptr + (step + 1) * ZERO, N1, N2)
        gr, gi = multiply(er, ei, tr, ti)
        zr, zi = whole_left_product(left, stack(gr, gi, N1, N2), N1, N2)
        tl.store(p_z + o_p, zr.to(tl.float16))
        tl.store(p_z + imaginary + o_p, -zi.to(tl.float16))


@triton.jit(do_not_specialize=["H0", "N1", "SIGNALS", "STEPS"], do_not_specialize_on_alignment=["B", "CHUNKS"])
def outer_inverse_kernel(
    real_ptr, imaginary_ptr, out_gate_ptr, y_ptr, second_gate_ptr, second_ptr, scale_ptr, matrix_ptr, twiddle_ptr,
    o_b, o_h, y_b, y_h, s_b, s_h,
    B, H0, L, N1, M, SIGNALS, STEPS, CHUNKS,
    T1: tl.constexpr, C: tl.constexpr, PACK: tl.constexpr, UNIT: tl.constexpr, OUT_GATED: tl.constexpr,
    SECOND: tl.constexpr,
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
    for step in tl.range(0, tl.minimum(STEPS, tl.cdiv(SIGNALS, PACK) - i_r * STEPS), num_stages=2):
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
