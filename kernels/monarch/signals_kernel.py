# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, assignment, misc"
# ruff: noqa: RUF005 (Triton knows no starred expressions)
"""Signals of a few rows, each done by one program from end to end: its planes never leave the cache.

A signal is a matrix [J, M] of J rows, and each row a matrix [N1, N2], so that columns are m = m1 N2 + m2. The twiddle
after the outer transform has a part for each m1, which the coefficients of that transform carry, and one for each m2,
which the twiddle of the rows carries: neither costs anything. As J is small, the outer transform is plain arithmetic on
registers, without a barrier. What one more outer transform leaves of a long signal are many such signals, complex ones:
planes in, planes out (planes_kernel).

Strides and lengths of signals are given in units of UNIT samples, as in passes_kernels.py.
"""

import triton
import triton.language as tl

from genoconv.kernels.monarch.pieces import gated
from genoconv.kernels.monarch.rows_kernel import convolve_row, load_matrices, load_row


@triton.jit
def _forward(
    p_u, p_in, real, outer_ptr, samples,
    N1: tl.constexpr, N2: tl.constexpr, J: tl.constexpr, G: tl.constexpr, IN_GATED: tl.constexpr,
):  # fmt: skip
    """One signal into planes, columns of G m1 at a time. Coefficients (J, J, 2, N1) are of row j, row n, part, m1."""
    P: tl.constexpr = N1 * N2
    o_g = tl.arange(0, G)[:, None]
    o_c = o_g * N2 + tl.arange(0, N2)[None, :]
    for step in tl.range(0, N1 // G, num_stages=1):
        o_t = step * (G * N2) + o_c
        xs = ()
        for n in tl.static_range(J):
            o_x = n * P + o_t
            u = tl.load(p_u + o_x, mask=o_x < samples, other=0.0, eviction_policy="evict_first")
            gate = tl.load(p_in + o_x, mask=o_x < samples, other=0.0, eviction_policy="evict_first") if IN_GATED else u
            xs = xs + (gated(u, gate, IN_GATED).to(tl.float32),)
        p_a = outer_ptr + step * G + o_g
        for j in tl.static_range(J):
            zr = tl.load(p_a + 2 * j * J * N1) * xs[0]
            zi = tl.load(p_a + (2 * j * J + 1) * N1) * xs[0]
            for n in tl.static_range(1, J):
                zr += tl.load(p_a + 2 * (j * J + n) * N1) * xs[n]
                zi += tl.load(p_a + (2 * (j * J + n) + 1) * N1) * xs[n]
            tl.store(real + j * P + o_t, zr.to(tl.float16))
            tl.store(real + (J + j) * P + o_t, zi.to(tl.float16))


@triton.jit
def _rows(
    real, imaginary, p_k, skip, matrices, twiddle_ptr, N2: tl.constexpr, J: tl.constexpr, SKIP: tl.constexpr
):  # fmt: skip
    """All rows of the planes of a signal, in place, each with a twiddle and a part of the spectrum of its own."""
    P: tl.constexpr = 64 * N2
    row = load_row(real, imaginary, N2)
    for j in tl.range(0, J, num_stages=1):
        next_z = real + tl.minimum(j + 1, J - 1) * P
        p_t = twiddle_ptr + j * (4 * P)
        row = convolve_row(
            row, matrices, real + j * P, next_z, imaginary, p_k + j * (2 * P), skip, p_t, p_t + 2 * P, p_k, p_k,
            N2, SKIP, False, False
        )  # fmt: skip


@triton.jit
def _inverse(
    real, p_out, p_y, outer_ptr, scale, samples,
    N1: tl.constexpr, N2: tl.constexpr, J: tl.constexpr, G: tl.constexpr, OUT_GATED: tl.constexpr,
):  # fmt: skip
    """Planes into one signal: the inverse of _forward, of which only the real part is wanted."""
    P: tl.constexpr = N1 * N2
    o_g = tl.arange(0, G)[:, None]
    o_c = o_g * N2 + tl.arange(0, N2)[None, :]
    for step in tl.range(0, N1 // G, num_stages=1):
        o_t = step * (G * N2) + o_c
        gates = ()
        if OUT_GATED:
            for n in tl.static_range(J):
                m_y = n * P + o_t < samples
                gate = tl.load(p_out + n * P + o_t, mask=m_y, other=0.0, eviction_policy="evict_first")
                gates = gates + (gate.to(tl.float32),)
        zs = ()
        for j in tl.static_range(2 * J):
            zs = zs + (tl.load(real + j * P + o_t).to(tl.float32),)
        p_a = outer_ptr + step * G + o_g
        for n in tl.static_range(J):
            y = tl.load(p_a + 2 * n * N1) * zs[0]
            y += tl.load(p_a + (2 * n + 1) * N1) * zs[J]
            for j in tl.static_range(1, J):
                y += tl.load(p_a + 2 * (j * J + n) * N1) * zs[j]
                y += tl.load(p_a + (2 * (j * J + n) + 1) * N1) * zs[J + j]
            y *= scale
            if OUT_GATED:
                y *= gates[n]
            m_y = n * P + o_t < samples
            tl.store(p_y + n * P + o_t, y.to(p_y.dtype.element_ty), mask=m_y, eviction_policy="evict_first")


@triton.jit(do_not_specialize=["TOTAL"], do_not_specialize_on_alignment=["B"])
def signals_kernel(
    u_ptr, in_gate_ptr, out_gate_ptr, y_ptr, planes_ptr, spectrum_ptr, scale_ptr, skip_ptr,
    outer_ptr, left_ptr, right_ptr, twist_ptr, twiddle_ptr,
    u_b, u_h, i_b, i_h, o_b, o_h, y_b, y_h,
    B, L, TOTAL,
    N1: tl.constexpr, N2: tl.constexpr, J: tl.constexpr, G: tl.constexpr, GAIN: tl.constexpr, UNIT: tl.constexpr,
    IN_GATED: tl.constexpr, OUT_GATED: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """All TOTAL signals, the B rows of the batch of each channel in a row; a program takes every so many-th of them.

    planes_ptr holds room for the planes of one signal, (2, J N1 N2) float16, for each program.
    """
    i_p = tl.program_id(0)
    matrices = load_matrices(left_ptr, right_ptr, twist_ptr, N2)
    real = planes_ptr + i_p.to(tl.int64) * (2 * J * N1 * N2)
    samples = L * UNIT
    for signal in tl.range(i_p, TOTAL, tl.num_programs(0), num_stages=1):
        b = (signal % B).to(tl.int64)
        h = (signal // B).to(tl.int64)
        p_u = u_ptr + (b * u_b + h * u_h) * UNIT
        p_in = in_gate_ptr + (b * i_b + h * i_h) * UNIT
        _forward(p_u, p_in, real, outer_ptr, samples, N1, N2, J, G, IN_GATED)
        tl.debug_barrier()
        skip = tl.load(skip_ptr + h) * GAIN if SKIP else 0.0
        p_k = spectrum_ptr + h * (2 * J * N1 * N2)
        _rows(real, J * N1 * N2, p_k, skip, matrices, twiddle_ptr, N2, J, SKIP)
        tl.debug_barrier()
        p_y = y_ptr + (b * y_b + h * y_h) * UNIT
        p_out = out_gate_ptr + (b * o_b + h * o_h) * UNIT
        _inverse(real, p_out, p_y, outer_ptr, tl.load(scale_ptr + h), samples, N1, N2, J, G, OUT_GATED)
        tl.debug_barrier()


@triton.jit
def _transform(
    real, imaginary, outer_ptr,
    N1: tl.constexpr, N2: tl.constexpr, J: tl.constexpr, G: tl.constexpr, INVERSE: tl.constexpr,
):  # fmt: skip
    """The planes of J rows, in place, transformed (or back) over the rows; otherwise as _forward."""
    P: tl.constexpr = N1 * N2
    o_g = tl.arange(0, G)[:, None]
    o_c = o_g * N2 + tl.arange(0, N2)[None, :]
    for step in tl.range(0, N1 // G, num_stages=1):
        p_x = real + step * (G * N2) + o_c
        xs = ()
        for n in tl.static_range(J):
            xs = xs + (tl.load(p_x + n * P).to(tl.float32), tl.load(p_x + imaginary + n * P).to(tl.float32))
        p_a = outer_ptr + step * G + o_g
        for j in tl.static_range(J):
            zr = tl.zeros((G, N2), tl.float32)
            zi = tl.zeros((G, N2), tl.float32)
            for n in tl.static_range(J):
                if INVERSE:
                    ar = tl.load(p_a + 2 * (n * J + j) * N1)
                    ai = -tl.load(p_a + (2 * (n * J + j) + 1) * N1)
                else:
                    ar = tl.load(p_a + 2 * (j * J + n) * N1)
                    ai = tl.load(p_a + (2 * (j * J + n) + 1) * N1)
                zr += ar * xs[2 * n] - ai * xs[2 * n + 1]
                zi += ar * xs[2 * n + 1] + ai * xs[2 * n]
            tl.store(p_x + j * P, zr.to(tl.float16))
            tl.store(p_x + imaginary + j * P, zi.to(tl.float16))


@triton.jit(do_not_specialize=["H0", "NJ", "TOTAL"], do_not_specialize_on_alignment=["B"])
def planes_kernel(
    planes_ptr, spectrum_ptr, skip_ptr, outer_ptr, left_ptr, right_ptr, twist_ptr, twiddle_ptr,
    PLANE, B, H0, NJ, TOTAL,
    N1: tl.constexpr, N2: tl.constexpr, J: tl.constexpr, G: tl.constexpr, GAIN: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """Planes (2, PLANE) of an outer transform over NJ rows, in place: each of these is J rows, a signal for itself.

    Work goes by channel, row, batch, so that the spectrum of a row serves the whole batch; else as signals_kernel.
    """
    P: tl.constexpr = N1 * N2
    matrices = load_matrices(left_ptr, right_ptr, twist_ptr, N2)
    imaginary = PLANE.to(tl.int64)
    for t in tl.range(tl.program_id(0), TOTAL, tl.num_programs(0), num_stages=1):
        hj = t // B
        h = hj // NJ
        real = planes_ptr + ((h * B + t % B).to(tl.int64) * NJ + hj % NJ) * (J * P)
        p_k = spectrum_ptr + ((H0 + h).to(tl.int64) * NJ + hj % NJ) * (2 * J * P)
        skip = tl.load(skip_ptr + H0 + h) * GAIN if SKIP else 0.0
        _transform(real, imaginary, outer_ptr, N1, N2, J, G, False)
        tl.debug_barrier()
        _rows(real, imaginary, p_k, skip, matrices, twiddle_ptr, N2, J, SKIP)
        tl.debug_barrier()
        _transform(real, imaginary, outer_ptr, N1, N2, J, G, True)
        tl.debug_barrier()
