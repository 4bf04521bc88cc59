# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Signals through a banded Toeplitz matrix, built tile by tile from the taps: the plan for short filters."""

import triton
import triton.language as tl

from genoconv.kernels.monarch.pieces import load_gated, store_gated


# Of B it matters whether it is a multiple of 16: there is room for a third program on a multiprocessor then.
@triton.jit(do_not_specialize=["K"])
def direct_kernel(
    u_ptr, in_gate_ptr, out_gate_ptr, y_ptr, taps_ptr, scale_ptr, skip_ptr,
    u_b, u_h, i_b, i_h, o_b, o_h, y_b, y_h,
    B, L, K, W,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    UNIT: tl.constexpr, IN_GATED: tl.constexpr, OUT_GATED: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """BM rows of the batch, BN samples: y[b, n] = sum over m of x[b, m] taps[n - m], BK samples m at a time.

    taps_ptr (H, 8, W) holds eight copies of the taps, copy s moved by BN + s, so that row m of a Toeplitz tile, read
    from copy m % 8, starts at a multiple of eight: loads of 16 bytes. Strides and L are in units of UNIT samples (8
    wherever possible), so that the compiler knows the same of the signals.
    """
    i_n = tl.program_id(0)
    h = tl.program_id(1)
    o_row = tl.program_id(2) * BM + tl.arange(0, BM)
    o_n = i_n * BN + tl.arange(0, BN)
    o_k = tl.arange(0, BK)
    u_row = (o_row[:, None].to(tl.int64) * u_b + h.to(tl.int64) * u_h) * UNIT
    in_row = (o_row[:, None].to(tl.int64) * i_b + h.to(tl.int64) * i_h) * UNIT
    out_row = (o_row[:, None].to(tl.int64) * o_b + h.to(tl.int64) * o_h) * UNIT
    y_row = (o_row[:, None].to(tl.int64) * y_b + h.to(tl.int64) * y_h) * UNIT
    p_taps = taps_ptr + h.to(tl.int64) * 8 * W + (o_k[:, None] % 8) * W + BN + o_n[None, :] - (o_k[:, None] // 8) * 8
    b_y = tl.zeros((BM, BN), dtype=tl.float32)
    start = tl.maximum(i_n * BN - K + 1, 0) // BK * BK
    for m in tl.range(start, tl.minimum((i_n + 1) * BN, L * UNIT), BK, num_stages=2):
        o_m = m + o_k[None, :]
        mask = (o_row[:, None] < B) & (o_m < L * UNIT)
        b_x = load_gated(u_ptr, in_gate_ptr, u_row + o_m, in_row + o_m, mask, IN_GATED)
        b_y = tl.dot(b_x, tl.load(p_taps - m), b_y)
    b_y *= tl.load(scale_ptr + h)
    mask = (o_row[:, None] < B) & (o_n[None, :] < L * UNIT)
    if SKIP:
        b_x = load_gated(u_ptr, in_gate_ptr, u_row + o_n[None, :], in_row + o_n[None, :], mask, IN_GATED)
        b_y += tl.load(skip_ptr + h).to(tl.float32) * b_x
    store_gated(b_y, y_ptr, out_gate_ptr, y_row + o_n[None, :], out_row + o_n[None, :], mask, OUT_GATED)
