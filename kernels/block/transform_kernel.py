# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
"""Mixed signals -> output projection, add, norm, MLP, add -> the stream, and its norm for the next block."""

import triton
import triton.language as tl


@triton.jit
def _twice_gelu(x, FAST: tl.constexpr):
    """2 GELU(x) in its tanh form; FAST: by the GPU's own tanh, exact to 2^-11 as is float16."""
    inner = x * (0.7978845608028654 + 0.035677408136300125 * (x * x))
    if FAST:
        t = tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [inner], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        t = 2.0 * tl.sigmoid(2.0 * inner) - 1.0
    return x + x * t


@triton.jit
def _statistics(x, eps, D: tl.constexpr, WIDTH: tl.constexpr):
    """What makes rows of x (T, WIDTH) normal, a factor and then a summand; columns from D on are 0 and do not count."""
    mean = tl.sum(x, 1) * (1.0 / D)
    centred = x - mean[:, None]
    if D != WIDTH:
        centred = tl.where(tl.arange(0, WIDTH)[None, :] < D, centred, 0.0)
    factor = tl.rsqrt(tl.sum(centred * centred, 1) * (1.0 / D) + eps)
    return factor[:, None], (-mean * factor)[:, None]


@triton.jit
def transform_kernel(
    x_ptr, x_tiles, y_ptr, next_tiles, bad_ptr, out_ptr, fc1_ptr, fc2_ptr, bias_ptr,
    y_d, positions, eps, next_eps,
    D: tl.constexpr, WIDTH: tl.constexpr, INNER: tl.constexpr,
    T: tl.constexpr, K: tl.constexpr, J: tl.constexpr, FINAL: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """T positions: x (P, D) float32 and y (D, P) float16 become x and `next`; the hidden layer stays on the chip.

    Matrices are float16, (in, out), padded with zeros to WIDTH and INNER; bias_ptr holds, float32, those of the output
    projection and of fc2 and the affine of the final norm (WIDTH each), and that of fc1 (INNER). fc1 contains the norm
    before it, fc2 a half. FINAL: x becomes the result of the final norm.

    Results are written as whole tiles: written by pointers they would first be exchanged between threads, for which
    there are no registers (3.14 against 3.38 ms for a million positions of 256 channels, H200).
    """
    first = tl.program_id(0) * T
    o_t = first + tl.arange(0, T)
    o_d = tl.arange(0, WIDTH)
    o_k = tl.arange(0, K)
    o_j = tl.arange(0, J)
    m_t = o_t < positions
    o_x = o_t.to(tl.int64)[:, None] * D + o_d[None, :]
    # The stream is where sums begin: loaded later, it would need registers beside them.
    m_x = m_t[:, None] if D == WIDTH else m_t[:, None] & (o_d < D)[None, :]
    sums = tl.load(x_ptr + o_x, mask=m_x, other=0.0) + tl.load(bias_ptr + o_d)[None, :]
    for k in tl.range(0, WIDTH, K, num_stages=2):
        o_y = (k + o_k).to(tl.int64)[:, None] * y_d + o_t[None, :]
        m_y = m_t[None, :] if D == WIDTH else m_t[None, :] & (k + o_k < D)[:, None]
        y = tl.load(y_ptr + o_y, mask=m_y, other=0.0)
        w = tl.load(out_ptr + (k + o_k)[:, None] * WIDTH + o_d[None, :])
        sums = tl.dot(tl.trans(y), w, sums)
    factor, summand = _statistics(sums, eps, D, WIDTH)
    h = (sums * factor + summand).to(tl.float16)
    sums += tl.load(bias_ptr + WIDTH + o_d)[None, :]
    # With two stages products wait for weights (4.5 ms), with four they wait too (3.7 ms).
    for j in tl.range(0, INNER, J, num_stages=3):
        w1 = tl.load(fc1_ptr + o_d[:, None] * INNER + (j + o_j)[None, :])
        # Here, not behind the first product: then the compiler finds registers to let products overlap.
        w2 = tl.load(fc2_ptr + (j + o_j)[:, None] * WIDTH + o_d[None, :])
        hidden = tl.dot(h, w1) + tl.load(bias_ptr + 4 * WIDTH + j + o_j)[None, :]
        sums = tl.dot(_twice_gelu(hidden, FAST).to(tl.float16), w2, sums)
    if not FINAL:
        x_tiles.store([first, 0], sums)
    factor, summand = _statistics(sums, next_eps, D, WIDTH)
    if FINAL:
        final = (sums * factor + summand) * tl.load(bias_ptr + 2 * WIDTH + o_d)[None, :]
        x_tiles.store([first, 0], final + tl.load(bias_ptr + 3 * WIDTH + o_d)[None, :])
    else:
        next_tiles.store([first, 0], (sums * factor + summand).to(tl.float16))
    # What is not finite anywhere in a row makes its variance so, and 0 or NaN of the factor.
    bad = tl.sum(tl.where(factor > 0.0, 0, 1))
    tl.store(bad_ptr, 1, mask=bad > 0)
