# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Signals pass by once: how loud each channel is, and what brings it into float16's range."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["B"])
def loudness_kernel(
    x_ptr, gate_ptr, loudness_ptr, x_b, x_h, g_b, g_h, B, L, SIZE: tl.constexpr, STEPS: tl.constexpr,
    GATED: tl.constexpr,
):  # fmt: skip
    """Sum and largest of |x * gate| over SIZE * STEPS samples of row (b, h), into (H, 2, B, programs)."""
    i_c = tl.program_id(0)
    h = tl.program_id(1).to(tl.int64)
    b = tl.program_id(2).to(tl.int64)
    total = tl.zeros((SIZE,), dtype=tl.float32)
    most = tl.zeros((SIZE,), dtype=tl.float32)
    for step in tl.static_range(STEPS):
        o = (i_c * STEPS + step) * SIZE + tl.arange(0, SIZE)
        g = tl.load(x_ptr + b * x_b + h * x_h + o, mask=o < L, other=0.0).to(tl.float32)
        if GATED:
            g *= tl.load(gate_ptr + b * g_b + h * g_h + o, mask=o < L, other=0.0).to(tl.float32)
        total += tl.abs(g)
        most = tl.maximum(most, tl.abs(g))
    at = (h * 2 * B + b) * tl.num_programs(0) + i_c
    tl.store(loudness_ptr + at, tl.sum(total, axis=0))
    tl.store(loudness_ptr + at + B * tl.num_programs(0), tl.max(most, axis=0))


@triton.jit(do_not_specialize=["B", "PARTS"])
def factor_kernel(loudness_ptr, factor_ptr, B, PARTS, MEAN, LARGEST, ROWS: tl.constexpr, SIZE: tl.constexpr):
    """The power of two for each channel that brings every row's sum under MEAN and every sample under LARGEST, (H,).

    What `loudness_kernel` found, (H, 2, B, PARTS), decides; silence takes 2^96.
    """
    h = tl.program_id(0).to(tl.int64)
    o_b = tl.arange(0, ROWS)[:, None]
    o_p = tl.arange(0, SIZE)[None, :]
    most = tl.zeros((ROWS, SIZE), dtype=tl.float32)
    loudest = 0.0
    for b in range(0, B, ROWS):
        total = tl.zeros((ROWS, SIZE), dtype=tl.float32)
        for first in range(0, PARTS, SIZE):
            at = loudness_ptr + (h * 2 * B + b + o_b) * PARTS + first + o_p
            mask = (b + o_b < B) & (first + o_p < PARTS)
            total += tl.load(at, mask=mask, other=0.0)
            most = tl.maximum(most, tl.load(at + B * PARTS, mask=mask, other=0.0))
        loudest = tl.maximum(loudest, tl.max(tl.sum(total, axis=1), axis=0))
    wanted = tl.minimum(MEAN / loudest, LARGEST / tl.max(tl.max(most, axis=1), axis=0))
    wanted = tl.minimum(tl.maximum(wanted, 2.0**-96), 2.0**96)
    tl.store(factor_ptr + h, (wanted.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True))
