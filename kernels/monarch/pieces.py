# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Small device functions that the kernels share: complex arithmetic on tiles, held as real and imaginary planes."""

import triton
import triton.language as tl


@triton.jit
def multiply(ar, ai, br, bi):
    """(ar + i ai) * (br + i bi), element by element."""
    return ar * br - ai * bi, ar * bi + ai * br


@triton.jit
def multiply_conjugate(ar, ai, br, bi):
    """(ar + i ai) * (br - i bi), element by element."""
    return ar * br + ai * bi, ai * br - ar * bi


@triton.jit
def right_product(ar, ai, c, s, m):
    """(ar + i ai) @ (c + i s) with m = -s: float16 operands, float32 sums. Swapping s and m conjugates the matrix."""
    yr = tl.dot(ar.to(tl.float16), c)
    yr = tl.dot(ai.to(tl.float16), m, yr)
    yi = tl.dot(ar.to(tl.float16), s)
    yi = tl.dot(ai.to(tl.float16), c, yi)
    return yr, yi


@triton.jit
def left_product(c, s, m, ar, ai):
    """(c + i s) @ (ar + i ai) with m = -s: float16 operands, float32 sums. Swapping s and m conjugates the matrix."""
    yr = tl.dot(c, ar.to(tl.float16))
    yr = tl.dot(m, ai.to(tl.float16), yr)
    yi = tl.dot(c, ai.to(tl.float16))
    yi = tl.dot(s, ar.to(tl.float16), yi)
    return yr, yi


@triton.jit
def whole_right_product(ar, ai, f, N1: tl.constexpr, N2: tl.constexpr):
    """(ar + i ai) @ (c + i s), with f = [[c, s], [-s, c]]."""
    a = tl.reshape(tl.permute(tl.join(ar.to(tl.float16), ai.to(tl.float16)), (0, 2, 1)), (N1, 2 * N2))
    return tl.split(tl.permute(tl.reshape(tl.dot(a, f), (N1, 2, N2)), (0, 2, 1)))


@triton.jit
def spectrum_place(row, column):
    """Where value (row, column) of a tile of spectrum is stored: in the order in which threads hold products of tiles.

    Bits of the row: two of the warp, one of the register, three of the thread. Bits of the column: the rest of the
    register's, two of the thread, one of the register. Then each thread reads its own 8 values from one place.
    """
    thread = (row % 8) * 4 + (column // 2) % 4
    register = (column // 8) % 2 * 4 + (row // 8) % 2 * 2 + column % 2
    return (column // 16) * 1024 + (row // 16) * 256 + thread * 8 + register


@triton.jit
def halved_row(row):
    """Where row `row` of the spectrum of a row of planes stands: pairs of an even and an odd one are 8 rows apart.

    Then they belong to one thread (see rows_kernel.py).
    """
    return row // 16 * 16 + row % 2 * 8 + row // 2 % 8


@triton.jit
def halved_column(column, N2: tl.constexpr):
    """Where column `column` of N2 stands: even ones come first."""
    return column % 2 * (N2 // 2) + column // 2


@triton.jit
def load_spectrum(p, PART: tl.constexpr, N2: tl.constexpr):
    """Real and imaginary part, PART values apart, of a tile (64, N2) of spectrum, float16.

    There is no exchange between threads.
    """
    o = tl.arange(0, 64 * N2)
    k = tl.reshape(tl.load(p + o), (N2 // 16, 4, 8, 4, 2, 2, 2))
    real = tl.reshape(tl.permute(k, (1, 5, 2, 0, 4, 3, 6)), (64, N2))
    k = tl.reshape(tl.load(p + PART + o), (N2 // 16, 4, 8, 4, 2, 2, 2))
    return real, tl.reshape(tl.permute(k, (1, 5, 2, 0, 4, 3, 6)), (64, N2))


@triton.jit
def _in_order(x, N2: tl.constexpr):
    """A tile (64, N2) as `load_spectrum` reads it."""
    x = tl.reshape(x.to(tl.float16), (4, 2, 8, N2 // 16, 2, 4, 2))
    return tl.reshape(tl.permute(x, (3, 0, 2, 5, 4, 1, 6)), (64 * N2,))


@triton.jit
def store_spectrum(p, PART: tl.constexpr, real, imaginary, N2: tl.constexpr):
    """Stores a tile for `load_spectrum`, as float16; each thread writes what it will read."""
    o = tl.arange(0, 64 * N2)
    tl.store(p + o, _in_order(real, N2))
    tl.store(p + PART + o, _in_order(imaginary, N2))


@triton.jit
def gated(u, gate, GATED: tl.constexpr):
    """Signal times gate (or signal alone) as float16."""
    if GATED:
        u = u * gate if u.dtype == tl.float16 else u.to(tl.float32) * gate.to(tl.float32)
    return u.to(tl.float16)


@triton.jit
def load_gated(u_ptr, gate_ptr, o_u, o_gate, mask, GATED: tl.constexpr):
    """Signal times gate as float16, zero where masked."""
    u = tl.load(u_ptr + o_u, mask=mask, other=0.0)
    gate = tl.load(gate_ptr + o_gate, mask=mask, other=0.0) if GATED else u
    return gated(u, gate, GATED)


@triton.jit
def scaled(u, gate, factor, GATED: tl.constexpr):
    """Signal times gate (or signal alone) times factor as float16, not rounded before."""
    u = u.to(tl.float32) * factor
    if GATED:
        u *= gate.to(tl.float32)
    return u.to(tl.float16)


@triton.jit
def load_scaled(u_ptr, gate_ptr, o_u, o_gate, mask, factor, GATED: tl.constexpr):
    """Signal times gate times factor as float16, not rounded before; zero where masked."""
    u = tl.load(u_ptr + o_u, mask=mask, other=0.0)
    gate = tl.load(gate_ptr + o_gate, mask=mask, other=0.0) if GATED else u
    return scaled(u, gate, factor, GATED)


@triton.jit
def store_gated(y, y_ptr, gate_ptr, o_y, o_gate, mask, GATED: tl.constexpr):
    """Writes y times gate in the dtype of the output."""
    if GATED:
        y = y * tl.load(gate_ptr + o_gate, mask=mask, other=0.0).to(tl.float32)
    tl.store(y_ptr + o_y, y.to(y_ptr.dtype.element_ty), mask=mask)
