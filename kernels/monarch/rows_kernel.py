# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, assignment, misc"
"""Rows of the planes, each convolved on chip in one go: transformed, multiplied with its spectrum, transformed back.

A row is a matrix [64, N2] of complex numbers. A transform of n values is done as a butterfly of the two halves and two
transforms of n / 2 values, one for the even and one for the odd frequencies: half as many products as in one go (3.2
instead of 4.0 ps a sample at 64 x 64, H200). On the way back the butterfly comes last. Frequencies are in the order of
`pieces.halved_row` and `halved_column`, with which all butterflies are between registers of one thread.

Over the 64 rows both halves are one product, side by side, and the odd one's twiddle is a factor of its own. Over the
N2 columns they are two products, and that twiddle is in the second matrix.
"""

import triton
import triton.language as tl

from genoconv.kernels.monarch.pieces import load_spectrum, multiply, multiply_conjugate, store_spectrum


@triton.jit
def _grouped(ar, ai, C: tl.constexpr):
    """A complex tile [32, C] as [64, C], 8 rows of real parts and 8 of imaginary parts in turns, float16."""
    z = tl.reshape(tl.join(ar.to(tl.float16), ai.to(tl.float16)), (4, 8, C, 2))
    return tl.reshape(tl.permute(z, (0, 3, 1, 2)), (64, C))


@triton.jit
def _ungrouped(z, C: tl.constexpr):
    """The way back of `_grouped`: in products, both parts of a number are held by one thread."""
    ar, ai = tl.split(tl.permute(tl.reshape(z, (4, 2, 8, C)), (0, 2, 3, 1)))
    return tl.reshape(ar, (32, C)), tl.reshape(ai, (32, C))


@triton.jit
def _beside(a, b, N: tl.constexpr, C: tl.constexpr):
    """Two tiles [N, C] side by side."""
    return tl.reshape(tl.permute(tl.join(a, b), (0, 2, 1)), (N, 2 * C))


@triton.jit
def _apart(z, N: tl.constexpr, C: tl.constexpr):
    """The way back of `_beside`."""
    return tl.split(tl.permute(tl.reshape(z, (N, 2, C)), (0, 2, 1)))


@triton.jit
def _halves(z, M: tl.constexpr):
    """[32, (parity, half, M)] as two tiles [64, M], whose rows are in the order of spectra."""
    z = tl.permute(tl.reshape(z, (4, 8, 2, 2, M)), (0, 2, 1, 4, 3))
    a, b = tl.split(z)
    return tl.reshape(a, (64, M)), tl.reshape(b, (64, M))


@triton.jit
def _whole(a, b, M: tl.constexpr):
    """The way back of `_halves`."""
    z = tl.permute(tl.reshape(tl.join(a, b), (4, 2, 8, M, 2)), (0, 2, 1, 4, 3))
    return tl.reshape(z, (32, 4 * M))


@triton.jit
def _right_product(ar, ai, f, M: tl.constexpr):
    """(ar + i ai) @ (c + i s) of tiles [64, M], with f = [[c, s], [-s, c]]."""
    return _apart(tl.dot(_beside(ar.to(tl.float16), ai.to(tl.float16), 64, M), f), 64, M)


@triton.jit
def _load_twiddle(p, N2: tl.constexpr):
    """Real and imaginary part of a twiddle (see `tables.row_twiddle`), float32: no exchange between threads."""
    o = tl.arange(0, 64 * N2)
    t = tl.reshape(tl.load(p + o), (N2 // 16, 4, 8, 4, 4, 2))
    tr = tl.reshape(tl.permute(t, (1, 2, 0, 4, 3, 5)), (32, 2 * N2))
    t = tl.reshape(tl.load(p + 64 * N2 + o), (N2 // 16, 4, 8, 4, 4, 2))
    ti = tl.reshape(tl.permute(t, (1, 2, 0, 4, 3, 5)), (32, 2 * N2))
    return tr.to(tl.float32), ti.to(tl.float32)


@triton.jit
def load_row(p, imaginary, N2: tl.constexpr):
    """Upper and lower half of the real part, and of the imaginary part."""
    o = tl.arange(0, 32)[:, None] * N2 + tl.arange(0, N2)[None, :]
    p_i = p + imaginary
    return tl.load(p + o), tl.load(p + 32 * N2 + o), tl.load(p_i + o), tl.load(p_i + 32 * N2 + o)


@triton.jit
def load_matrices(left_ptr, right_ptr, twist_ptr, N2: tl.constexpr):
    """What `convolve_row` takes as matrices (see `tables.half_left`, `half_right`, `half_twist`)."""
    o_1 = tl.arange(0, 64)
    o_2 = tl.arange(0, N2)
    o_r = o_2[:, None] * N2 + o_2[None, :]
    left = tl.load(left_ptr + o_1[:, None] * 64 + o_1[None, :])
    o_t = tl.arange(0, 32)[:, None]
    even = tl.load(right_ptr + o_r)
    odd = tl.load(right_ptr + N2 * N2 + o_r)
    return left, even, odd, tl.load(twist_ptr + o_t), tl.load(twist_ptr + 32 + o_t)


@triton.jit
def _product(
    ur, ui, kr, ki, skip, p_room, p_later,
    N2: tl.constexpr, SKIP: tl.constexpr, LEADS: tl.constexpr, FOLLOWS: tl.constexpr,
):  # fmt: skip
    """Half of the frequencies of a row, (64, N2 / 2), times their spectrum, as float16; see `convolve_row`."""
    M: tl.constexpr = N2 // 2
    if FOLLOWS:
        er, ei = load_spectrum(p_room, 64 * N2, M)
    kr = kr.to(tl.float32)
    if SKIP:
        kr += skip
    vr, vi = multiply(ur, ui, kr, ki.to(tl.float32))
    if FOLLOWS:
        vr += er.to(tl.float32)
        vi += ei.to(tl.float32)
    vr = vr.to(tl.float16)
    vi = vi.to(tl.float16)
    if LEADS:
        lr, li = load_spectrum(p_later, 64 * N2, M)
        er, ei = multiply(ur, ui, lr.to(tl.float32), li.to(tl.float32))
        store_spectrum(p_room, 64 * N2, er, ei, M)
    return vr, vi


@triton.jit
def convolve_row(
    row, matrices, p_z, next_z, imaginary, p_k, skip, p_forth, p_back, p_room, p_later,
    N2: tl.constexpr, SKIP: tl.constexpr, LEADS: tl.constexpr, FOLLOWS: tl.constexpr,
):  # fmt: skip
    """One row, loaded by `load_row` from p_z, convolved and stored there; returns the row at next_z.

    The twiddle is read forth and back, for registers buy more when they hold a third program. The next row is on its
    way while this one is worked on.

    If the row LEADS, its transform times the spectrum at p_later is left at p_room, where the row that FOLLOWS takes it
    from. The next row is then asked for after that product, where registers are not as scarce.
    """
    M: tl.constexpr = N2 // 2
    left, even, odd, vr, vi = matrices
    ar, br, ai, bi = row
    tr, ti = _load_twiddle(p_forth, N2)
    dr, di = multiply(ar.to(tl.float32) - br.to(tl.float32), ai.to(tl.float32) - bi.to(tl.float32), vr, vi)
    x = _beside(_grouped(ar + br, ai + bi, N2), _grouped(dr, di, N2), 64, N2)
    ar, ai = _ungrouped(tl.dot(left, x), 2 * N2)
    if not LEADS:
        following = load_row(next_z, imaginary, N2)
    ar, ai = multiply(ar, ai, tr, ti)
    ar, br = _halves(ar, M)
    ai, bi = _halves(ai, M)
    # Even frequencies, then odd ones.
    xr, xi = (ar + br).to(tl.float16), (ai + bi).to(tl.float16)
    wr, wi = (ar - br).to(tl.float16), (ai - bi).to(tl.float16)
    kr, ki = load_spectrum(p_k, 64 * N2, M)
    sr, si = _right_product(xr, xi, even, M)
    sr, si = _product(sr, si, kr, ki, skip, p_room, p_later, N2, SKIP, LEADS, FOLLOWS)
    kr, ki = load_spectrum(p_k + 64 * M, 64 * N2, M)
    dr, di = _right_product(wr, wi, odd, M)
    dr, di = _product(dr, di, kr, ki, skip, p_room + 64 * M, p_later + 64 * M, N2, SKIP, LEADS, FOLLOWS)
    if LEADS:
        following = load_row(next_z, imaginary, N2)
    sr, si = _right_product(sr, si, tl.trans(even), M)
    dr, di = _right_product(dr, di, tl.trans(odd), M)
    tr, ti = _load_twiddle(p_back, N2)
    zr, zi = multiply_conjugate(_whole(sr + dr, sr - dr, M), _whole(si + di, si - di, M), tr, ti)
    zr, zi = _ungrouped(tl.dot(tl.trans(left), _grouped(zr, zi, 2 * N2)), 2 * N2)
    sr, dr = _apart(zr, 32, N2)
    si, di = _apart(zi, 32, N2)
    dr, di = multiply_conjugate(dr, di, vr, vi)
    o = tl.arange(0, 32)[:, None] * N2 + tl.arange(0, N2)[None, :]
    p_i = p_z + imaginary
    tl.store(p_z + o, (sr + dr).to(tl.float16))
    tl.store(p_z + 32 * N2 + o, (sr - dr).to(tl.float16))
    tl.store(p_i + o, (si + di).to(tl.float16))
    tl.store(p_i + 32 * N2 + o, (si - di).to(tl.float16))
    return following


@triton.jit(do_not_specialize=["H0", "NJ", "STEPS", "TOTAL"], do_not_specialize_on_alignment=["B"])
def rows_kernel(
    planes_ptr, spectrum_ptr, skip_ptr, left_ptr, right_ptr, twist_ptr, twiddle_ptr, room_ptr,
    PLANE, B, H0, NJ, STEPS, TOTAL,
    N2: tl.constexpr, GAIN: tl.constexpr, SKIP: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Planes (2, PLANE) into planes, in place: every stretch of 64 N2 values convolved with its part of the spectrum.

    Stretch j (of NJ) of all B rows of a channel are done one after the other, while their spectrum is in the cache: a
    program does STEPS pieces of work in a row. The spectrum is larger by GAIN than the results are meant to be, which
    the right matrices and the twiddle back make good (see `tables.half_right`); skip_ptr (H,) is in the results' units.

    A row of the batch may be BLOCKS = 2 rows of planes, whose filter has two spectra: the first block's transform times
    the second of them is added to what the second block's is times the first. Between the two it waits in room_ptr, 2 *
    64 N2 values for each program. All programs run at once then, side by side: the next piece of work is the next
    program's, STEPS is not asked for.
    """
    P: tl.constexpr = 64 * N2
    imaginary = PLANE.to(tl.int64)
    matrices = load_matrices(left_ptr, right_ptr, twist_ptr, N2)
    p_room = room_ptr + tl.program_id(0).to(tl.int64) * (2 * P)
    first = tl.program_id(0) * STEPS if BLOCKS == 1 else tl.program_id(0)
    hop = 1 if BLOCKS == 1 else tl.num_programs(0)
    # The stretch of channel h and row b that comes next: work goes by channel, stretch, row, planes by channel and row.
    b = first % B
    j = first // B % NJ
    h = first // B // NJ
    next_z = planes_ptr + ((h * B + b).to(tl.int64) * (BLOCKS * NJ) + j) * P
    row = load_row(next_z, imaginary, N2)
    steps = tl.minimum(STEPS, TOTAL - first) if BLOCKS == 1 else tl.cdiv(TOTAL - first, hop)
    hop_b, hop_j, hop_h = hop % B, hop // B % NJ, hop // B // NJ
    for step in tl.range(0, steps, num_stages=1):
        p_k = spectrum_ptr + ((H0 + h).to(tl.int64) * (BLOCKS * NJ) + j) * 2 * P
        p_later = p_k + NJ.to(tl.int64) * (2 * P)
        skip = tl.load(skip_ptr + H0 + h) * GAIN if SKIP else 0.0
        for r in tl.static_range(BLOCKS):
            p_z = next_z
            if r + 1 < BLOCKS:
                next_z = p_z + NJ.to(tl.int64) * P
            else:
                if BLOCKS == 1:
                    b += 1
                    j += tl.where(b == B, 1, 0)
                    b = tl.where(b == B, 0, b)
                    h += tl.where(j == NJ, 1, 0)
                    j = tl.where(j == NJ, 0, j)
                else:
                    b += hop_b
                    j += tl.where(b >= B, hop_j + 1, hop_j)
                    b = tl.where(b >= B, b - B, b)
                    h += tl.where(j >= NJ, hop_h + 1, hop_h)
                    j = tl.where(j >= NJ, j - NJ, j)
                # Beyond the last stretch any place will do.
                o_z = tl.where(first + (step + 1) * hop < TOTAL, (h * B + b).to(tl.int64) * (BLOCKS * NJ) + j, 0)
                next_z = planes_ptr + o_z * P
            row = convolve_row(
                row, matrices, p_z, next_z, imaginary, p_k, skip, twiddle_ptr, twiddle_ptr + 2 * P, p_room, p_later,
                N2, SKIP, r + 1 < BLOCKS, r > 0
            )  # fmt: skip
