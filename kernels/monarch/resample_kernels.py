# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Signals become low samples, a few of them, that hold only their low frequencies, and come back from them.

Windows of signals times a constant matrix (a short low-pass, see sparsity.py). Low samples are float16, contiguous.
"""

import triton
import triton.language as tl

from genoconv.kernels.monarch.pieces import load_gated, store_gated


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
    W: tl.constexpr, STRIDE: tl.constexpr, WIDE: tl.constexpr, SPAN: tl.constexpr, AHEAD: tl.constexpr,
    LOW: tl.constexpr, UNIT: tl.constexpr, IN_GATED: tl.constexpr, OUT_GATED: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """W windows of one signal: STRIDE samples of each are the products of SPAN low samples with (SPAN, WIDE)."""
    i_w = tl.program_id(0)
    h = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    channel = (H0 + h).to(tl.int64)
    u_row = (b * u_b + channel * u_h) * UNIT
    in_row = (b * i_b + channel * i_h) * UNIT
    out_row = (b * o_b + channel * o_h) * UNIT
    y_row = (b * y_b + channel * y_h) * UNIT
    low_row = (b * tl.num_programs(1) + h) * WINDOWS * LOW
    o_w = i_w * W + tl.arange(0, W)
    o_s = tl.arange(0, SPAN)
    o_c = tl.arange(0, LOW)
    o_low = AHEAD + o_w[:, None] * LOW + o_s[None, :]
    b_low = tl.load(low_ptr + low_row + o_low, mask=o_low < WINDOWS * LOW, other=0.0)
    for c in tl.range(0, WIDE, LOW, num_stages=2):
        b_y = tl.dot(b_low, tl.load(matrix_ptr + o_s[:, None] * WIDE + c + o_c[None, :]))
        o_x = o_w[:, None] * STRIDE + c + o_c[None, :]
        mask = o_x < L * UNIT
        if WIDE > STRIDE:
            mask = mask & (c + o_c[None, :] < STRIDE)
        if SKIP:
            x = load_gated(u_ptr, in_gate_ptr, u_row + o_x, in_row + o_x, mask, IN_GATED)
            b_y += tl.load(skip_ptr + channel).to(tl.float32) * x
        store_gated(b_y, y_ptr, out_gate_ptr, y_row + o_x, out_row + o_x, mask, OUT_GATED)
