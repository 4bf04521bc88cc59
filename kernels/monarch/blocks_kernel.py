# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Signals in blocks that fit on chip: transform, product with the spectrum, inverse transform, all in one program."""

import triton
import triton.language as tl

from genoconv.kernels.monarch.pieces import (
    gated,
    load_spectrum,
    multiply,
    multiply_conjugate,
    store_gated,
    whole_right_product,
)


@triton.jit
def _load(u_ptr, gate_ptr, u_b, u_h, i_b, i_h, b, h, o_t, L, UNIT: tl.constexpr, GATED: tl.constexpr):
    """Samples o_t of row (b, h) of the signals, and of their gate (the samples again if there is none)."""
    mask = o_t < L * UNIT
    b = b.to(tl.int64)
    h = h.to(tl.int64)
    u = tl.load(u_ptr + (b * u_b + h * u_h) * UNIT + o_t, mask=mask, other=0.0)
    gate = tl.load(gate_ptr + (b * i_b + h * i_h) * UNIT + o_t, mask=mask, other=0.0) if GATED else u
    return u, gate


@triton.jit(do_not_specialize=["STEPS", "TOTAL"], do_not_specialize_on_alignment=["BLOCKS"])
def blocks_kernel(
    u_ptr, in_gate_ptr, out_gate_ptr, y_ptr, spectrum_ptr, scale_ptr, skip_ptr,
    outer_ptr, twiddle_ptr, inner_ptr,
    u_b, u_h, i_b, i_h, o_b, o_h, y_b, y_h,
    L, BLOCKS, STEPS, TOTAL, ZERO,
    N1: tl.constexpr, N2: tl.constexpr, HISTORY: tl.constexpr,
    IN_GATED: tl.constexpr, OUT_GATED: tl.constexpr, SKIP: tl.constexpr,
    GROWTH: tl.constexpr, UNIT: tl.constexpr, KEEP: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    """STEPS blocks of one channel, in order of row of the batch and place in the row; TOTAL = rows * BLOCKS.

    Block r of a row is X[n1, n2] = x[r * N1 * N2 + n1 * N2 + n2]. Its quarter-shifted transform is U. The spectrum of
    output block r is U of block r times part 0 of the filter's spectrum and, if HISTORY is 1, U of block r - 1 times
    part 1; the real part of its inverse transform is the output block.

    GROWTH is what the transforms multiply signals with (see tables.py).

    KEEP holds the tables in registers. Otherwise they are read at each step, from addresses to which t * ZERO is added
    (ZERO is 0, but the compiler does not know), for the registers buy more when they hold a second program. AHEAD loads
    the next block while this one is worked on. Strides and L are in units of UNIT samples (8 where possible), so that
    the compiler knows that rows start at multiples of 16 bytes.
    """
    P: tl.constexpr = N1 * N2
    h = tl.program_id(0)
    i_c = tl.program_id(1)
    o_1 = tl.arange(0, N1)
    o_2 = tl.arange(0, N2)
    o_p = o_1[:, None] * N2 + o_2[None, :]
    o_f1 = o_1[:, None] * N1 + o_1[None, :]
    o_22 = tl.arange(0, 2 * N2)
    f1r = tl.load(outer_ptr + o_f1)
    f1i = tl.load(outer_ptr + N1 * N1 + o_f1)
    f1m = tl.load(outer_ptr + 2 * N1 * N1 + o_f1)
    right = tl.load(inner_ptr + o_22[:, None] * (2 * N2) + o_22[None, :])
    scale = tl.load(scale_ptr + h)
    if SKIP:
        skip = tl.load(skip_ptr + h).to(tl.float32) / (scale * GROWTH)
    p_spectrum = spectrum_ptr + h.to(tl.int64) * (HISTORY + 1) * 2 * P
    if KEEP:
        tr, ti = load_spectrum(twiddle_ptr, P, N2)
        kr, ki = load_spectrum(p_spectrum, P, N2)
        ki = -ki
    # What the block before adds to the spectrum of this one.
    if HISTORY:
        vr = tl.zeros((N1, N2), dtype=tl.float16)
        vi = tl.zeros((N1, N2), dtype=tl.float16)
    begin = i_c * STEPS
    first = begin - tl.minimum(begin % BLOCKS, HISTORY)
    if AHEAD:
        next_u, next_in = _load(
            u_ptr, in_gate_ptr, u_b, u_h, i_b, i_h, first // BLOCKS, h, (first % BLOCKS) * P + o_p, L, UNIT, IN_GATED
        )
    for step in tl.range(0, tl.minimum(begin + STEPS, TOTAL) - first, num_stages=1):
        t = first + step
        b = t // BLOCKS
        r = t % BLOCKS
        o_t = r * P + o_p
        mask = o_t < L * UNIT
        if AHEAD:
            x = gated(next_u, next_in, IN_GATED)
            n = tl.minimum(t + 1, TOTAL - 1)
            next_u, next_in = _load(
                u_ptr, in_gate_ptr, u_b, u_h, i_b, i_h, n // BLOCKS, h, (n % BLOCKS) * P + o_p, L, UNIT, IN_GATED
            )
        else:
            u, gate = _load(u_ptr, in_gate_ptr, u_b, u_h, i_b, i_h, b, h, o_t, L, UNIT, IN_GATED)
            x = gated(u, gate, IN_GATED)
        if not KEEP:
            tr, ti = load_spectrum(twiddle_ptr + t * ZERO, P, N2)
        br, bi = multiply(tl.dot(f1r, x), tl.dot(f1i, x), tr, ti)
        ur, ui = whole_right_product(br, bi, right, N1, N2)
        # From here on conjugates, so that the way back takes the same matrix.
        if not KEEP:
            kr, ki = load_spectrum(p_spectrum + t * ZERO, P, N2)
            ki = -ki
        if SKIP:
            dr, di = multiply_conjugate(kr.to(tl.float32) + skip, ki, ur, ui)
        else:
            dr, di = multiply_conjugate(kr, ki, ur, ui)
        if HISTORY:
            dr = (dr + vr).to(tl.float16)
            di = (di + vi).to(tl.float16)
            if r + 1 < BLOCKS:
                k1r, k1i = load_spectrum(p_spectrum + t * ZERO + 2 * P, P, N2)
                if SKIP:
                    er, ei = multiply_conjugate(k1r, skip - k1i.to(tl.float32), ur, ui)
                else:
                    er, ei = multiply_conjugate(k1r, -k1i, ur, ui)
                vr = er.to(tl.float16)
                vi = ei.to(tl.float16)
            else:
                vr = tl.zeros((N1, N2), dtype=tl.float16)
                vi = tl.zeros((N1, N2), dtype=tl.float16)
        er, ei = whole_right_product(dr, di, right, N1, N2)
        if not KEEP:
            tr, ti = load_spectrum(twiddle_ptr + (t + 1) * ZERO, P, N2)
        gr, gi = multiply(er, ei, tr, ti)
        y = tl.dot(f1r, gr.to(tl.float16))
        y = tl.dot(f1m, gi.to(tl.float16), y) * scale
        y_row = (b.to(tl.int64) * y_b + h.to(tl.int64) * y_h) * UNIT
        out_row = (b.to(tl.int64) * o_b + h.to(tl.int64) * o_h) * UNIT
        own = mask & (o_t >= tl.where(t < begin, L * UNIT, 0))
        store_gated(y, y_ptr, out_gate_ptr, y_row + o_t, out_row + o_t, own, OUT_GATED)
