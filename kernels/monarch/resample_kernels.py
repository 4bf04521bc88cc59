# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Signals become low samples, a few of them, that hold only their low frequencies, and come back from them.

Windows of signals times a constant matrix (a short low-pass, see sparsity.py). Low samples are float16, contiguous.
"""

import triton
import triton.language as tl

from genoconv.kernels.monarch.pieces import gated, load_gated


@triton.jit(do_not_specialize=["H0", "WINDOWS"])
def decimate_kernel(
    u_ptr, in_gate_ptr, low_ptr, matrix_ptr,
    u_b, u_h, i_b, i_h,
    H0, L, WINDOWS,
    W: tl.constexpr, STRIDE: tl.constexpr, WINDOW: tl.constexpr, LEFT: tl.constexpr, LOW: tl.constexpr,
    UNIT: tl.constexpr, IN_GATED: tl.constexpr,
):  # fmt: skip
    """W windows of one signal: LOW low samples of each are the products of WINDOW samples with (WINDOW, LOW)."""
    i_w = tl.program_id(0)
    h = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    channel = (H0 + h).to(tl.int64)
    u_row = (b * u_b + channel * u_h) * UNIT
    in_row = (b * i_b + channel * i_h) * UNIT
    o_w = i_w * W + tl.arange(0, W)
    o_k = tl.arange(0, LOW)
    b_low = tl.zeros((W, LOW), dtype=tl.float32)
    for k in tl.range(0, WINDOW, LOW, num_stages=3):
        o_x = o_w[:, None] * STRIDE + (k - LEFT) + o_k[None, :]
        mask = (o_x >= 0) & (o_x < L * UNIT)
        x = load_gated(u_ptr, in_gate_ptr, u_row + o_x, in_row + o_x, mask, IN_GATED)
        b_low = tl.dot(x, tl.load(matrix_ptr + (k + o_k[:, None]) * LOW + o_k[None, :]), b_low)
    low_row = (b * tl.num_programs(1) + h) * WINDOWS * LOW
    tl.store(low_ptr + low_row + o_w[:, None] * LOW + o_k[None, :], b_low.to(tl.float16), mask=o_w[:, None] < WINDOWS)


@triton.jit(do_not_specialize=["H0", "WINDOWS"])
def interpolate_kernel(
    u_ptr, in_gate_ptr, out_gate_ptr, y_ptr, low_ptr, matrix_ptr, skip_ptr,
    u_b, u_h, i_b, i_h, o_b, o_h, y_b, y_h,
    H0, L, WINDOWS,
    W: tl.constexpr, STRIDE: tl.constexpr, PARTS: tl.constexpr, COLUMNS: tl.constexpr, REACH: tl.constexpr,
    IN_REACH: tl.constexpr, ORIGIN: tl.constexpr, ALIGNED: tl.constexpr, LOW: tl.constexpr,
    UNIT: tl.constexpr, IN_GATED: tl.constexpr, OUT_GATED: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """One part of W windows of one signal: COLUMNS samples of each are the products of the low samples in reach.

    These are IN_REACH for each window, times the part's matrix (IN_REACH, COLUMNS). All that is read is on its way
    before the product.
    """
    part = tl.program_id(0) % PARTS
    h = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    first = (ORIGIN * STRIDE + (part * COLUMNS - REACH) * LOW) // STRIDE
    first = tl.multiple_of(first // ALIGNED * ALIGNED, ALIGNED)
    channel = (H0 + h).to(tl.int64)
    u_row = (b * u_b + channel * u_h) * UNIT
    in_row = (b * i_b + channel * i_h) * UNIT
    out_row = (b * o_b + channel * o_h) * UNIT
    y_row = (b * y_b + channel * y_h) * UNIT
    low_row = (b * tl.num_programs(1) + h) * WINDOWS * LOW
    o_w = tl.program_id(0) // PARTS * W + tl.arange(0, W)
    o_s = tl.arange(0, IN_REACH)
    o_c = tl.arange(0, COLUMNS)
    o_x = o_w[:, None] * STRIDE + part * COLUMNS + o_c[None, :]
    mask = o_x < L * UNIT
    if STRIDE % COLUMNS:
        mask = mask & (part * COLUMNS + o_c[None, :] < STRIDE)
    if SKIP:
        skip = tl.load(skip_ptr + channel).to(tl.float32)
        b_u = tl.load(u_ptr + u_row + o_x, mask=mask, other=0.0)
        b_in = tl.load(in_gate_ptr + in_row + o_x, mask=mask, other=0.0) if IN_GATED else b_u
    if OUT_GATED:
        b_out = tl.load(out_gate_ptr + out_row + o_x, mask=mask, other=0.0)
    o_low = first + o_w[:, None] * LOW + o_s[None, :]
    b_low = tl.load(low_ptr + low_row + o_low, mask=o_low < WINDOWS * LOW, other=0.0)
    b_y = tl.dot(b_low, tl.load(matrix_ptr + (part * IN_REACH + o_s[:, None]) * COLUMNS + o_c[None, :]))
    if SKIP:
        b_y += skip * gated(b_u, b_in, IN_GATED)
    if OUT_GATED:
        b_y = b_y * b_out.to(tl.float32)
    tl.store(y_ptr + y_row + o_x, b_y.to(y_ptr.dtype.element_ty), mask=mask)
