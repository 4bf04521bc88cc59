# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Signals x = u in_gate and gradients g = dy out_gate, both transformed, become the gradients of all operands.

With X and G the spectra, and K that of the filter (with the skip term): G conj(K) is the spectrum of x's gradient, X K
that of the ungated result, which out_gate's gradient needs, and G conj(X), summed over the batch, that of the filter's.
"""

import triton
import triton.language as tl

from genoconv.kernels.monarch.pieces import (
    gated,
    left_product,
    load_spectrum,
    multiply,
    multiply_conjugate,
    right_product,
    scaled,
    store_gated,
)


@triton.jit
def _load(x_ptr, gate_ptr, x_b, x_h, g_b, g_h, b, h, o, L, UNIT: tl.constexpr, GATED: tl.constexpr):
    """Row (b, h) of some signals, and of their gate (the signals again if there is none)."""
    mask = o < L * UNIT
    b = b.to(tl.int64)
    x = tl.load(x_ptr + (b * x_b + h * x_h) * UNIT + o, mask=mask, other=0.0)
    return x, tl.load(gate_ptr + (b * g_b + h * g_h) * UNIT + o, mask=mask, other=0.0) if GATED else x


@triton.jit(do_not_specialize=["B", "H", "STEPS"])
def blocks_backward_kernel(
    u_ptr, in_gate_ptr, out_gate_ptr, dy_ptr, du_ptr, din_ptr, dout_ptr, product_ptr,
    spectrum_ptr, scale_ptr, skip_ptr, factor_ptr, outer_ptr, twiddle_ptr, inner_ptr,
    u_b, u_h, i_b, i_h, o_b, o_h, d_b, d_h, y_b, y_h,
    B, H, L, STEPS,
    N1: tl.constexpr, N2: tl.constexpr, UNIT: tl.constexpr,
    IN_GATED: tl.constexpr, OUT_GATED: tl.constexpr, SKIP: tl.constexpr, GROWTH: tl.constexpr,
):  # fmt: skip
    """STEPS rows of one channel, each in one block of N1 * N2 samples; results of strides (y_b, y_h).

    The factors (H,) bring g into float16's range; they are taken back from the results, not from the products.
    """
    P: tl.constexpr = N1 * N2
    h = tl.program_id(0).to(tl.int64)
    i_c = tl.program_id(1)
    o_1 = tl.arange(0, N1)
    o_2 = tl.arange(0, N2)
    o_p = o_1[:, None] * N2 + o_2[None, :]
    o_f1 = o_1[:, None] * N1 + o_1[None, :]
    o_f2 = o_2[:, None] * N2 + o_2[None, :]
    mask = o_p < L * UNIT
    f1r = tl.load(outer_ptr + o_f1)
    f1i = tl.load(outer_ptr + N1 * N1 + o_f1)
    c = tl.load(inner_ptr + o_f2)
    s = tl.load(inner_ptr + N2 * N2 + o_f2)
    m = tl.load(inner_ptr + 2 * N2 * N2 + o_f2)
    tr = tl.load(twiddle_ptr + o_p)
    ti = tl.load(twiddle_ptr + P + o_p)
    kr, ki = load_spectrum(spectrum_ptr + h * 2 * P, P, N2)
    scale = tl.load(scale_ptr + h)
    factor = tl.load(factor_ptr + h)
    skip = tl.load(skip_ptr + h).to(tl.float32) / (scale * GROWTH) if SKIP else 0.0
    pr = tl.zeros((N1, N2), dtype=tl.float32)
    pi = tl.zeros((N1, N2), dtype=tl.float32)
    # The next row is on its way while this one is worked on (10.0 against 11.9 ps a sample at 64 x 32, H200).
    begin = i_c * STEPS
    next_u, next_in = _load(u_ptr, in_gate_ptr, u_b, u_h, i_b, i_h, begin, h, o_p, L, UNIT, IN_GATED)
    next_d, next_out = _load(dy_ptr, out_gate_ptr, d_b, d_h, o_b, o_h, begin, h, o_p, L, UNIT, OUT_GATED)
    for step in tl.range(0, tl.minimum(STEPS, B - begin), num_stages=1):
        b = (begin + step).to(tl.int64)
        o_u = (b * u_b + h * u_h) * UNIT + o_p
        o_in = (b * i_b + h * i_h) * UNIT + o_p
        o_d = (b * d_b + h * d_h) * UNIT + o_p
        o_y = (b * y_b + h * y_h) * UNIT + o_p
        x = gated(next_u, next_in, IN_GATED)
        g = scaled(next_d, next_out, factor, OUT_GATED)
        n = tl.minimum(begin + step + 1, B - 1)
        next_u, next_in = _load(u_ptr, in_gate_ptr, u_b, u_h, i_b, i_h, n, h, o_p, L, UNIT, IN_GATED)
        next_d, next_out = _load(dy_ptr, out_gate_ptr, d_b, d_h, o_b, o_h, n, h, o_p, L, UNIT, OUT_GATED)
        br, bi = multiply(tl.dot(f1r, x), tl.dot(f1i, x), tr, ti)
        xr, xi = right_product(br, bi, c, s, m)
        xr = xr.to(tl.float16)
        xi = xi.to(tl.float16)
        if OUT_GATED:
            er, ei = multiply(xr, xi, kr.to(tl.float32) + skip, ki)
            er, ei = right_product(er, ei, c, m, s)
            er, ei = multiply_conjugate(er, ei, tr, ti)
            y = tl.dot(f1r, er.to(tl.float16))
            y = tl.dot(f1i, ei.to(tl.float16), y) * scale
            store_gated(y, dout_ptr, dy_ptr, o_y, o_d, mask, True)
        br, bi = multiply(tl.dot(f1r, g), tl.dot(f1i, g), tr, ti)
        gr, gi = right_product(br, bi, c, s, m)
        er, ei = multiply_conjugate(gr, gi, xr.to(tl.float32), xi.to(tl.float32))
        pr += er
        pi += ei
        er, ei = multiply_conjugate(gr, gi, kr.to(tl.float32) + skip, ki)
        er, ei = right_product(er, ei, c, m, s)
        er, ei = multiply_conjugate(er, ei, tr, ti)
        y = tl.dot(f1r, er.to(tl.float16))
        y = tl.dot(f1i, ei.to(tl.float16), y) * (scale / factor)
        store_gated(y, du_ptr, in_gate_ptr, o_y, o_in, mask, IN_GATED)
        if IN_GATED:
            store_gated(y, din_ptr, u_ptr, o_y, o_u, mask, True)
    p_product = product_ptr + (i_c * H + h) * 2 * P + o_p
    tl.store(p_product, pr)
    tl.store(p_product + P, pi)


@triton.jit(do_not_specialize=["B", "ROWS", "H0", "NJ", "STEPS", "STRETCHES"])
def inner_backward_kernel(
    x_real_ptr, x_imaginary_ptr, g_real_ptr, g_imaginary_ptr, product_ptr, spectrum_ptr, skip_ptr,
    left_ptr, right_ptr, twiddle_ptr,
    B, ROWS, H0, NJ, STEPS, STRETCHES,
    N1: tl.constexpr, N2: tl.constexpr, GAIN: tl.constexpr, SKIP: tl.constexpr, RESULT: tl.constexpr,
):  # fmt: skip
    """Rows of the planes of x and g, in place: ROWS rows of the batch of STEPS stretches (of all channels' NJ).

    The planes of x become those of the ungated result, if RESULT is 1, and those of g those of x's gradient. Rows of
    the left matrix and the columns of the right one are in the order of the spectrum.
    """
    P: tl.constexpr = N1 * N2
    i_c = tl.program_id(0)
    i_b = tl.program_id(1)
    o_1 = tl.arange(0, N1)
    o_2 = tl.arange(0, N2)
    o_p = o_1[:, None] * N2 + o_2[None, :]
    o_f1 = o_1[:, None] * N1 + o_1[None, :]
    o_f2 = o_2[:, None] * N2 + o_2[None, :]
    c1 = tl.load(left_ptr + o_f1)
    s1 = tl.load(left_ptr + N1 * N1 + o_f1)
    m1 = tl.load(left_ptr + 2 * N1 * N1 + o_f1)
    c2 = tl.load(right_ptr + o_f2)
    s2 = tl.load(right_ptr + N2 * N2 + o_f2)
    m2 = tl.load(right_ptr + 2 * N2 * N2 + o_f2)
    tr = tl.load(twiddle_ptr + o_p)
    ti = tl.load(twiddle_ptr + P + o_p)
    for step in tl.range(0, tl.minimum(STEPS, STRETCHES - i_c * STEPS), num_stages=1):
        hj = i_c * STEPS + step
        h = hj // NJ
        p_spectrum = spectrum_ptr + (H0 * NJ + hj).to(tl.int64) * 2 * P
        pr = tl.zeros((N1, N2), dtype=tl.float32)
        pi = tl.zeros((N1, N2), dtype=tl.float32)
        for row in tl.range(0, tl.minimum(ROWS, B - i_b * ROWS), num_stages=1):
            o_z = ((h * B + i_b * ROWS + row).to(tl.int64) * NJ + hj % NJ) * P + o_p
            zr = tl.load(x_real_ptr + o_z)
            zi = tl.load(x_imaginary_ptr + o_z)
            # Needed later, but on its way from now on (10.8 against 11.5 ps a sample at 64 x 32, H200).
            wr = tl.load(g_real_ptr + o_z)
            wi = tl.load(g_imaginary_ptr + o_z)
            ar, ai = left_product(c1, s1, m1, zr, zi)
            br, bi = multiply(ar, ai, tr, ti)
            xr, xi = right_product(br, bi, c2, s2, m2)
            xr = xr.to(tl.float16)
            xi = xi.to(tl.float16)
            if RESULT:
                kr, ki = load_spectrum(p_spectrum, P, N2)
                kr = kr.to(tl.float32) * (1.0 / GAIN)
                ki = ki.to(tl.float32) * (1.0 / GAIN)
                if SKIP:
                    kr += tl.load(skip_ptr + H0 + h)
                er, ei = multiply(xr, xi, kr, ki)
                er, ei = right_product(er, ei, tl.trans(c2), tl.trans(m2), tl.trans(s2))
                er, ei = multiply_conjugate(er, ei, tr, ti)
                er, ei = left_product(tl.trans(c1), tl.trans(m1), tl.trans(s1), er, ei)
                tl.store(x_real_ptr + o_z, er.to(tl.float16))
                tl.store(x_imaginary_ptr + o_z, ei.to(tl.float16))
            ar, ai = left_product(c1, s1, m1, wr, wi)
            br, bi = multiply(ar, ai, tr, ti)
            gr, gi = right_product(br, bi, c2, s2, m2)
            er, ei = multiply_conjugate(gr, gi, xr.to(tl.float32), xi.to(tl.float32))
            pr += er
            pi += ei
            kr, ki = load_spectrum(p_spectrum, P, N2)
            kr = kr.to(tl.float32) * (1.0 / GAIN)
            ki = ki.to(tl.float32) * (1.0 / GAIN)
            if SKIP:
                kr += tl.load(skip_ptr + H0 + h)
            er, ei = multiply_conjugate(gr, gi, kr, ki)
            er, ei = right_product(er, ei, tl.trans(c2), tl.trans(m2), tl.trans(s2))
            er, ei = multiply_conjugate(er, ei, tr, ti)
            er, ei = left_product(tl.trans(c1), tl.trans(m1), tl.trans(s1), er, ei)
            tl.store(g_real_ptr + o_z, er.to(tl.float16))
            tl.store(g_imaginary_ptr + o_z, ei.to(tl.float16))
        p_product = product_ptr + (i_b * STRETCHES + hj).to(tl.int64) * 2 * P + o_p
        tl.store(p_product, pr)
        tl.store(p_product + P, pi)
