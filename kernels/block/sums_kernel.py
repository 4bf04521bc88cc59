# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Hidden states of padded rows -> float64 sums over stretches of positions."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["stretches"])
def sums_kernel(
    x_ptr, lengths_ptr, sums_ptr,
    x_b, x_l, stretches,
    D: tl.constexpr, WIDTH: tl.constexpr, T: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """Stretch i of a row holds its positions from SPAN i on; what is behind the row's length is not read.

    x is (B, L, D) float32 with strides x_b and x_l, sums is (B, stretches, D); a program takes WIDTH of the channels.
    """
    i = tl.program_id(0)
    b = i // stretches
    first = (i % stretches) * SPAN
    length = tl.load(lengths_ptr + b)
    o_d = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    m_d = o_d < D
    b_sum = tl.zeros((T, WIDTH), tl.float64)
    for start in range(first, first + SPAN, T):
        o_l = start + tl.arange(0, T)
        o_x = b.to(tl.int64) * x_b + o_l.to(tl.int64)[:, None] * x_l + o_d[None, :]
        b_x = tl.load(x_ptr + o_x, mask=(o_l < length)[:, None] & m_d[None, :], other=0.0)
        b_sum += b_x.to(tl.float64)
    tl.store(sums_ptr + i.to(tl.int64) * D + o_d, tl.sum(b_sum, 0), mask=m_d)
