# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Projections -> short filter -> first gate: the signals of the long convolution, and the gate behind it."""

import triton
import triton.language as tl


@triton.jit
def _halves(word):
    """The two float16 numbers of an int32, the lower first, as float32."""
    low = (word & 0xFFFF).to(tl.int16).to(tl.float16, bitcast=True)
    high = (word >> 16).to(tl.int16).to(tl.float16, bitcast=True)
    return low.to(tl.float32), high.to(tl.float32)


@triton.jit
def _word(low, high):
    """Two numbers as float16 in one int32."""
    low = low.to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32) & 0xFFFF
    return (high.to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32) << 16) | low


@triton.jit
def _filtered(u_ptr, taps_ptr, channel, o_u, q, mask):
    """The short filter of one channel at positions 2 q and 2 q + 1.

    taps_ptr holds, for each channel, the taps for two positions back, one back and now, then what is added: everywhere,
    at position 0 only, and at position 1 only (there the filter reaches before the start of the signal).
    """
    t = taps_ptr + channel * 6
    two, one, now = tl.load(t), tl.load(t + 1), tl.load(t + 2)
    everywhere, first, second = tl.load(t + 3), tl.load(t + 4), tl.load(t + 5)
    c, d = _halves(tl.load(u_ptr + o_u, mask=mask, other=0))
    a, b = _halves(tl.load(u_ptr + o_u - 1, mask=mask & (q > 0), other=0))
    low = two * a + one * b + now * c + everywhere + tl.where(q == 0, first, 0.0)
    high = two * b + one * c + now * d + everywhere + tl.where(q == 0, second, 0.0)
    return low, high


@triton.jit(do_not_specialize=["u_c", "behind"])
def gates_kernel(
    u_ptr, taps_ptr, v_ptr, gate_ptr,
    u_c, v_c, first, last, behind, row, channels,
    SIZE: tl.constexpr,
):  # fmt: skip
    """Words `first` to `last` - 1 of all channels; a word is two neighbouring float16 positions, a row has `row` words.

    Everything that counts positions is in words. Word `first` is `behind` words from the start of u (3 channels, ...).
    The compiler must not know whether that is a multiple of something: then the loads of a word and of the one before
    it get one layout, which saves an exchange between threads.
    """
    c = tl.program_id(1)
    word = first + tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    mask = word < last
    q = word % row
    o_u = c.to(tl.int64) * u_c + (word - first + behind)
    block = channels.to(tl.int64) * u_c
    low, high = _filtered(u_ptr, taps_ptr, c, o_u, q, mask)
    o_v = c.to(tl.int64) * v_c + word
    tl.store(gate_ptr + o_v, _word(low, high), mask=mask)
    x_low, x_high = _filtered(u_ptr, taps_ptr, c + channels, o_u + block, q, mask)
    low, high = _filtered(u_ptr, taps_ptr, c + 2 * channels, o_u + 2 * block, q, mask)
    tl.store(v_ptr + o_v, _word(low * x_low, high * x_high), mask=mask)
