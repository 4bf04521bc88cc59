"""From timed convolutions to the rates that plans are chosen by: a few plans are timed, and told apart into kernels."""

from collections.abc import Callable

import torch

from genoconv.kernels import benchmark, triton_path
from genoconv.kernels.benchmark import BenchmarkError
from genoconv.kernels.fftconv import fftconv
from genoconv.kernels.monarch.plan import BLOCKS, H200, ROWS, Plan, Rates

Timer = Callable[[Plan, int, int], float]
"""Plan, samples and taps -> picoseconds a sample of gated convolutions that fill the GPU."""

# Taps between which the direct method is timed, on signals of some samples.
_FEW, _MANY, _SHORT = 64, 1024, 2048
# Samples of one timed convolution.
_SAMPLES = 1 << 26
_PROGRAMS_EACH = 2
# Two outer transforms in one pass, by the product of the heights of their tiles.
_PAIRS = {256: (16, 16), 512: (32, 16)}
# Rows of whole signals by one program each.
_RADIX = (2, 4)


def measure(timed: Timer, *, device: str, multiprocessors: int) -> Rates:
    """Finds the rates of the GPU named `device`.

    Only sums of outer and inner passes can be timed; they are split as on the H200, and used as sums again.

    Raises:
        BenchmarkError: The times contradict each other: something else was using the GPU.
    """
    few, many = (timed(Plan("direct"), _SHORT, taps) for taps in (_FEW, _MANY))
    each_tap = (many - few) / (_MANY - _FEW)
    blocks = {plan.n: timed(plan, plan.n, plan.n) for plan in (Plan("blocks", factors) for factors in BLOCKS)}
    with_history = {
        plan.n: timed(plan, 2 * plan.n, plan.n) for plan in (Plan("blocks", factors, 1) for factors in BLOCKS)
    }
    small, large = (n1 * n2 for n1, n2 in ROWS)
    sums = {t: timed(*_whole(Plan("passes", (t, *ROWS[0])))) for t in H200.outer}
    inner = {small: sums[16] * H200.inner[small] / (H200.inner[small] + H200.outer[16])}
    outer = {t: total - inner[small] for t, total in sums.items()}
    inner[large] = timed(*_whole(Plan("passes", (16, *ROWS[1])))) - outer[16]
    middle = {t: timed(*_whole(Plan("passes", (64, t, *ROWS[0])))) - sums[64] for t in H200.middle}
    pair = {t: timed(*_whole(Plan("passes", (*_PAIRS[t], *ROWS[0])))) - inner[small] for t in H200.pair}
    signals, radix = _split(timed, ())
    nested, nested_radix = _split(timed, (64,))
    nested = {n: total - outer[64] for n, total in nested.items()}
    chunks = Plan("passes", (16, *ROWS[0]), 1)
    before = {parts: max(0.0, timed(chunks, 2 * chunks.n, parts * chunks.n) - sums[16]) for parts in H200.before}
    rates = Rates(
        device=device, direct=(few - _FEW * each_tap, each_tap), blocks=blocks,
        history={n: max(0.0, total - blocks[n]) for n, total in with_history.items()}, outer=outer, middle=middle,
        pair=pair, inner=inner, signals=signals, radix=radix, nested=nested, nested_radix=nested_radix,
        before=before, launch=H200.launch, programs=_PROGRAMS_EACH * multiprocessors,
    )  # fmt: skip
    found = (
        *rates.direct,
        *(number for table in (blocks, outer, middle, pair, inner, signals, nested) for number in table.values()),
    )
    if min(found) <= 0.0:
        raise BenchmarkError("the times of the kernels contradict each other")
    return rates


def timer(device: torch.device, say: Callable[[str], None]) -> Timer:
    """Times plans on a GPU, and says each result."""

    def timed(plan: Plan, length: int, taps: int) -> float:
        batch = max(1, min(64, _SAMPLES // length))
        channels = max(1, min(768, _SAMPLES // length // batch))
        case = benchmark.operands(batch, channels, length, taps, torch.float16, device, "random")
        spectrum = triton_path.prepare(case.pop("taps"), length, plan=plan)
        out = torch.empty_like(case["u"])
        ms = benchmark.milliseconds(lambda: fftconv(taps=spectrum, **case, out=out, check=False), device)
        each = ms * 1e9 / out.numel()
        say(f"{plan!s:26} {length:9,} samples {taps:9,} taps  {each:7.2f} ps a sample")
        return each

    return timed


def _split(timed: Timer, outer: tuple[int, ...]) -> tuple[dict[int, float], dict[int, float]]:
    """Signals of a few rows: by length of a row, what is left of the time without rows, and more for each of them."""
    some, more = (
        {n1 * n2: timed(*_whole(Plan("signals", (*outer, few, n1, n2)))) for n1, n2 in ROWS} for few in _RADIX
    )
    each = {n: max(0.0, (more[n] - some[n]) / (_RADIX[1] - _RADIX[0])) for n in some}
    return {n: more[n] - _RADIX[1] * each[n] for n in more}, each


def _whole(plan: Plan) -> tuple[Plan, int, int]:
    return plan, plan.n, plan.n
