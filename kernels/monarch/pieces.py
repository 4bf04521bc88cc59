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
