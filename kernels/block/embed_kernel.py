# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Token ids -> the stream, and its norm for the first block."""

import triton
import triton.language as tl


@triton.jit
def embed_kernel(
    ids_ptr, table_ptr, normal_table_ptr, x_ptr, normal_ptr,
    positions,
    D: tl.constexpr, WIDTH: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Rows of two tables (vocabulary, D), float32 and float16, for T positions: x (P, D) and its norm."""
    o_t = tl.program_id(0) * T + tl.arange(0, T)
    o_d = tl.arange(0, WIDTH)
    m_t = o_t < positions
    mask = m_t[:, None] & (o_d < D)[None, :]
    o_table = tl.load(ids_ptr + o_t, mask=m_t, other=0).to(tl.int32)[:, None] * D + o_d[None, :]
    o_x = o_t.to(tl.int64)[:, None] * D + o_d[None, :]
    tl.store(x_ptr + o_x, tl.load(table_ptr + o_table, mask=mask), mask=mask)
    tl.store(normal_ptr + o_x, tl.load(normal_table_ptr + o_table, mask=mask), mask=mask)
