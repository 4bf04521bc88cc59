# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""The kernels of passes and blocks with float32's accuracy: every product of two numbers is three products of halves.

A number is held as the sum of two float16 numbers, high and low: 22 bits. Of the product of two such sums the part low
times low is left out. Tables come as pairs, (2, ...), high first; twiddles, planes and spectra are float32.
"""

import triton
import triton.language as tl

from genoconv.kernels.monarch.pieces import multiply, multiply_conjugate


@triton.jit
def _split(x):
    """High and low part of float32 numbers."""
    high = x.to(tl.float16)
    return high, (x - high.to(tl.float32)).to(tl.float16)


@triton.jit
def _left(ah, al, b, y):
    """Adds (ah + al) @ b to y."""
    bh, bl = _split(b)
    y = tl.dot(al, bh, y)
    y = tl.dot(ah, bl, y)
    return tl.dot(ah, bh, y)


@triton.jit
def _right(a, bh, bl, y):
    """Adds a @ (bh + bl) to y."""
    ah, al = _split(a)
    y = tl.dot(al, bh, y)
    y = tl.dot(ah, bl, y)
    return tl.dot(ah, bh, y)


@triton.jit
def _left_product(ch, cl, sh, sl, mh, ml, ar, ai):
    """(c + i s) @ (ar + i ai) with m = -s; swapping s and m conjugates the matrix."""
    zero = tl.zeros(ar.shape, dtype=tl.float32)
    return _left(mh, ml, ai, _left(ch, cl, ar, zero)), _left(sh, sl, ar, _left(ch, cl, ai, zero))


@triton.jit
def _right_product(ar, ai, ch, cl, sh, sl, mh, ml):
    """(ar + i ai) @ (c + i s) with m = -s; swapping s and m conjugates the matrix."""
    zero = tl.zeros(ar.shape, dtype=tl.float32)
    return _right(ai, mh, ml, _right(ar, ch, cl, zero)), _right(ai, ch, cl, _right(ar, sh, sl, zero))


@triton.jit
def _gated(x_ptr, gate_ptr, o_x, o_gate, mask, GATED: tl.constexpr):
    x = tl.load(x_ptr + o_x, mask=mask, other=0.0).to(tl.float32)
    if GATED:
        x *= tl.load(gate_ptr + o_gate, mask=mask, other=0.0).to(tl.float32)
    return x


@triton.jit(do_not_specialize=["B", "H", "H0", "N1", "SIGNALS", "STEPS"])
def exact_outer_kernel(
    u_ptr, gate_ptr, y_ptr, real_ptr, imaginary_ptr, matrix_ptr, twiddle_ptr, factor_ptr,
    u_b, u_h, g_b, g_h, y_b, y_h,
    B, H, H0, L, N1, M, SIGNALS, STEPS,
    T1: tl.constexpr, C: tl.constexpr, GATED: tl.constexpr, INVERSE: tl.constexpr,
):  # fmt: skip
    """C columns of STEPS signals (N1, M) times their factors, (B, H), into planes, or of planes into signals.

    matrix_ptr (2, 3, T1, T1) is the transform over the N1 rows, or its inverse; twiddle_ptr (2, N1, M) float32.
    """
    T: tl.constexpr = T1 * T1
    i_r = tl.program_id(1)
    o_j = tl.arange(0, T1)
    o_c = tl.program_id(0) * C + tl.arange(0, C)
    o_a = o_j[:, None] * T1 + o_j[None, :]
    o_x = o_j[:, None] * M + o_c[None, :]
    m_z = (o_j[:, None] < N1) & (o_c[None, :] < M)
    m_x = m_z & (o_x < L)
    ch = tl.load(matrix_ptr + o_a)
    cl = tl.load(matrix_ptr + 3 * T + o_a)
    sh = tl.load(matrix_ptr + T + o_a)
    sl = tl.load(matrix_ptr + 4 * T + o_a)
    wr = tl.load(twiddle_ptr + o_x, mask=m_z, other=0.0)
    wi = tl.load(twiddle_ptr + N1 * M + o_x, mask=m_z, other=0.0)
    zero = tl.zeros((T1, C), dtype=tl.float32)
    for step in tl.range(0, tl.minimum(STEPS, SIGNALS - i_r * STEPS), num_stages=1):
        signal = i_r * STEPS + step
        b = (signal % B).to(tl.int64)
        h = (H0 + signal // B).to(tl.int64)
        o_z = signal.to(tl.int64) * N1 * M + o_x
        o_g = b * g_b + h * g_h + o_x
        factor = tl.load(factor_ptr + b * H + h)
        if INVERSE:
            zr = tl.load(real_ptr + o_z, mask=m_z, other=0.0)
            zi = tl.load(imaginary_ptr + o_z, mask=m_z, other=0.0)
            gr, gi = multiply_conjugate(zr, zi, wr, wi)
            y = (_left(ch, cl, gr, zero) - _left(sh, sl, gi, zero)) * factor
            if GATED:
                y *= tl.load(gate_ptr + o_g, mask=m_x, other=0.0).to(tl.float32)
            tl.store(y_ptr + b * y_b + h * y_h + o_x, y.to(y_ptr.dtype.element_ty), mask=m_x)
        else:
            x = _gated(u_ptr, gate_ptr, b * u_b + h * u_h + o_x, o_g, m_x, GATED) * factor
            zr, zi = multiply(_left(ch, cl, x, zero), _left(sh, sl, x, zero), wr, wi)
            tl.store(real_ptr + o_z, zr, mask=m_z)
            tl.store(imaginary_ptr + o_z, zi, mask=m_z)


@triton.jit(do_not_specialize=["N1", "SIGNALS", "STEPS"])
def exact_middle_kernel(
    real_ptr, imaginary_ptr, matrix_ptr, twiddle_ptr, N1, M, SIGNALS, STEPS,
    T1: tl.constexpr, C: tl.constexpr, INVERSE: tl.constexpr,
):  # fmt: skip
    """Planes into planes, in place: one more outer transform of every row of N1 * M values, or its inverse."""
    T: tl.constexpr = T1 * T1
    i_r = tl.program_id(1)
    o_j = tl.arange(0, T1)
    o_c = tl.program_id(0) * C + tl.arange(0, C)
    o_a = o_j[:, None] * T1 + o_j[None, :]
    o_x = o_j[:, None] * M + o_c[None, :]
    mask = (o_j[:, None] < N1) & (o_c[None, :] < M)
    ch = tl.load(matrix_ptr + o_a)
    sh = tl.load(matrix_ptr + T + o_a)
    mh = tl.load(matrix_ptr + 2 * T + o_a)
    cl = tl.load(matrix_ptr + 3 * T + o_a)
    sl = tl.load(matrix_ptr + 4 * T + o_a)
    ml = tl.load(matrix_ptr + 5 * T + o_a)
    wr = tl.load(twiddle_ptr + o_x, mask=mask, other=0.0)
    wi = tl.load(twiddle_ptr + N1 * M + o_x, mask=mask, other=0.0)
    for step in tl.range(0, tl.minimum(STEPS, SIGNALS - i_r * STEPS), num_stages=1):
        o_z = (i_r * STEPS + step).to(tl.int64) * N1 * M + o_x
        xr = tl.load(real_ptr + o_z, mask=mask, other=0.0)
        xi = tl.load(imaginary_ptr + o_z, mask=mask, other=0.0)
        if INVERSE:
            xr, xi = multiply_conjugate(xr, xi, wr, wi)
        zr, zi = _left_product(ch, cl, sh, sl, mh, ml, xr, xi)
        if not INVERSE:
            zr, zi = multiply(zr, zi, wr, wi)
        tl.store(real_ptr + o_z, zr, mask=mask)
        tl.store(imaginary_ptr + o_z, zi, mask=mask)


@triton.jit(do_not_specialize=["B", "H0", "NJ", "STEPS", "TOTAL"])
def exact_inner_kernel(
    real_ptr, imaginary_ptr, spectrum_ptr, skip_ptr, left_ptr, right_ptr, twiddle_ptr,
    B, H0, NJ, STEPS, TOTAL,
    N1: tl.constexpr, N2: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """Planes into planes, in place: every stretch of N1 * N2 values convolved circularly; see rows_kernel.py."""
    P: tl.constexpr = N1 * N2
    S: tl.constexpr = N1 * N1
    T: tl.constexpr = N2 * N2
    i_c = tl.program_id(0)
    o_1 = tl.arange(0, N1)
    o_2 = tl.arange(0, N2)
    o_p = o_1[:, None] * N2 + o_2[None, :]
    o_f1 = o_1[:, None] * N1 + o_1[None, :]
    o_f2 = o_2[:, None] * N2 + o_2[None, :]
    c1h = tl.load(left_ptr + o_f1)
    s1h = tl.load(left_ptr + S + o_f1)
    m1h = tl.load(left_ptr + 2 * S + o_f1)
    c1l = tl.load(left_ptr + 3 * S + o_f1)
    s1l = tl.load(left_ptr + 4 * S + o_f1)
    m1l = tl.load(left_ptr + 5 * S + o_f1)
    c2h = tl.load(right_ptr + o_f2)
    s2h = tl.load(right_ptr + T + o_f2)
    m2h = tl.load(right_ptr + 2 * T + o_f2)
    c2l = tl.load(right_ptr + 3 * T + o_f2)
    s2l = tl.load(right_ptr + 4 * T + o_f2)
    m2l = tl.load(right_ptr + 5 * T + o_f2)
    first = i_c * STEPS
    for step in tl.range(0, tl.minimum(STEPS, TOTAL - first), num_stages=1):
        t = first + step
        hj = t // B
        h = hj // NJ
        o_z = ((h * B + t % B).to(tl.int64) * NJ + hj % NJ) * P + o_p
        zr = tl.load(real_ptr + o_z)
        zi = tl.load(imaginary_ptr + o_z)
        ar, ai = _left_product(c1h, c1l, s1h, s1l, m1h, m1l, zr, zi)
        tr = tl.load(twiddle_ptr + o_p)
        ti = tl.load(twiddle_ptr + P + o_p)
        ar, ai = multiply(ar, ai, tr, ti)
        ur, ui = _right_product(ar, ai, c2h, c2l, s2h, s2l, m2h, m2l)
        o_k = ((H0 + h).to(tl.int64) * NJ + hj % NJ) * 2 * P + o_p
        kr = tl.load(spectrum_ptr + o_k)
        ki = tl.load(spectrum_ptr + P + o_k)
        if SKIP:
            kr += tl.load(skip_ptr + H0 + h)
        dr, di = multiply(ur, ui, kr, ki)
        er, ei = _right_product(dr, di, c2h, c2l, m2h, m2l, s2h, s2l)
        tr = tl.load(twiddle_ptr + o_p)
        ti = tl.load(twiddle_ptr + P + o_p)
        er, ei = multiply_conjugate(er, ei, tr, ti)
        zr, zi = _left_product(c1h, c1l, m1h, m1l, s1h, s1l, er, ei)
        tl.store(real_ptr + o_z, zr)
        tl.store(imaginary_ptr + o_z, zi)


@triton.jit(do_not_specialize=["B", "H", "STEPS"])
def exact_blocks_kernel(
    u_ptr, in_gate_ptr, out_gate_ptr, y_ptr, spectrum_ptr, scale_ptr, factor_ptr, skip_ptr,
    outer_ptr, twiddle_ptr, inner_ptr,
    u_b, u_h, i_b, i_h, o_b, o_h, y_b, y_h,
    B, H, L, STEPS,
    N1: tl.constexpr, N2: tl.constexpr, IN_GATED: tl.constexpr, OUT_GATED: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """STEPS rows of one channel, each in one block of N1 * N2 samples; see blocks_kernel."""
    P: tl.constexpr = N1 * N2
    S: tl.constexpr = N1 * N1
    T: tl.constexpr = N2 * N2
    h = tl.program_id(0).to(tl.int64)
    i_c = tl.program_id(1)
    o_1 = tl.arange(0, N1)
    o_2 = tl.arange(0, N2)
    o_p = o_1[:, None] * N2 + o_2[None, :]
    o_f1 = o_1[:, None] * N1 + o_1[None, :]
    o_f2 = o_2[:, None] * N2 + o_2[None, :]
    mask = o_p < L
    c1h = tl.load(outer_ptr + o_f1)
    s1h = tl.load(outer_ptr + S + o_f1)
    c1l = tl.load(outer_ptr + 3 * S + o_f1)
    s1l = tl.load(outer_ptr + 4 * S + o_f1)
    c2h = tl.load(inner_ptr + o_f2)
    s2h = tl.load(inner_ptr + T + o_f2)
    m2h = tl.load(inner_ptr + 2 * T + o_f2)
    c2l = tl.load(inner_ptr + 3 * T + o_f2)
    s2l = tl.load(inner_ptr + 4 * T + o_f2)
    m2l = tl.load(inner_ptr + 5 * T + o_f2)
    scale = tl.load(scale_ptr + h)
    skip = tl.load(skip_ptr + h).to(tl.float32) / scale if SKIP else 0.0
    zero = tl.zeros((N1, N2), dtype=tl.float32)
    for step in tl.range(0, tl.minimum(STEPS, B - i_c * STEPS), num_stages=1):
        b = (i_c * STEPS + step).to(tl.int64)
        factor = tl.load(factor_ptr + b * H + h)
        x = _gated(u_ptr, in_gate_ptr, b * u_b + h * u_h + o_p, b * i_b + h * i_h + o_p, mask, IN_GATED) * factor
        tr = tl.load(twiddle_ptr + o_p)
        ti = tl.load(twiddle_ptr + P + o_p)
        ar, ai = multiply(_left(c1h, c1l, x, zero), _left(s1h, s1l, x, zero), tr, ti)
        ur, ui = _right_product(ar, ai, c2h, c2l, s2h, s2l, m2h, m2l)
        kr = tl.load(spectrum_ptr + h * 2 * P + o_p) + skip
        ki = tl.load(spectrum_ptr + h * 2 * P + P + o_p)
        dr, di = multiply(ur, ui, kr, ki)
        er, ei = _right_product(dr, di, c2h, c2l, m2h, m2l, s2h, s2l)
        tr = tl.load(twiddle_ptr + o_p)
        ti = tl.load(twiddle_ptr + P + o_p)
        gr, gi = multiply_conjugate(er, ei, tr, ti)
        y = (_left(c1h, c1l, gr, zero) + _left(s1h, s1l, gi, zero)) * (scale / factor)
        if OUT_GATED:
            y *= tl.load(out_gate_ptr + b * o_b + h * o_h + o_p, mask=mask, other=0.0).to(tl.float32)
        tl.store(y_ptr + b * y_b + h * y_h + o_p, y.to(y_ptr.dtype.element_ty), mask=mask)
