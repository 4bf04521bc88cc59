"""Measurements of the convolutions: checked against float64, then timed beside torch.fft and a plain copy.

Times are medians, in milliseconds, over fresh random signals (B, H, L), gated, with the filters' spectra made before. A
result whose error is out of bounds is not timed, but an error.
"""

import csv
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from genoconv.kernels import reference, triton_path
from genoconv.kernels.fftconv import backend_for, fftconv, prepare
from genoconv.kernels.monarch.plan import Plan, candidates, choose
from genoconv.kernels.monarch.rates import rates_for
from genoconv.kernels.spectrum import Spectrum

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Untyped in torch.
_Event: Any = torch.cuda.Event
Filters = Literal["random", "smooth"]

# Rows and channels for each length: about 200 million samples, enough to be far larger than a GPU's cache.
GPU_SHAPES = {
    256: (64, 768), 512: (64, 768), 1024: (64, 768), 2048: (64, 768), 4096: (64, 768), 8192: (32, 768),
    16384: (16, 768), 32768: (8, 768), 65536: (8, 384), 131072: (8, 192), 262144: (8, 96), 524288: (8, 48),
    1048576: (8, 32), 2097152: (8, 16), 4194304: (8, 16),
}  # fmt: skip
CPU_SHAPES = {1024: (4, 64), 16384: (1, 64), 131072: (1, 32), 1048576: (1, 4)}
# Largest relative L2 error of the rows that are looked at, taken together, and of each by itself; of smooth filters
# only of those that are first or last in batch and channels. A few bins make such a result, and where they happen to
# be small in a signal, the rounding of all others counts for more (2.7e-3 seen in float16, of a row in between).
BOUNDS = {torch.float16: 1e-3, torch.bfloat16: 2.5e-3, torch.float32: 1e-5, torch.float64: 1e-12}
ROW_BOUNDS = BOUNDS | {torch.float16: 1.5e-3}
# Rows that are looked at, at most, and rows of the batch among them.
_ROWS, _BATCH_ROWS = 16, 4
# Of frequency-sparse convolutions, whose low-passes leak: about 1e-4 of the filter's loudest frequencies.
BAND_BOUND = 1e-3
# Samples of the running mean that is taken off to see the error of the fine structure.
_SMOOTHED = 1001


class BenchmarkError(RuntimeError):
    """A result was too far from the float64 reference to be worth timing."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row of the table; times in ms, memory in MiB beside operands and result, errors relative L2 to float64.

    Attributes:
        torch_ms: torch.fft.rfft and irfft in float32, twice the length, with the filter's transform made before.
        copy_ms: Moving the four tensors of a gated convolution once: the fastest of some ways, timed right before and
            right after the kernel, before torch: right after torch's transforms it takes a tenth longer (H200).
        error: Of 16 rows (fewer if there are fewer), taken together.
        fine_error: The same with the running mean of 1,001 samples taken off result and reference.
        row_error: The largest of any of these rows by itself.
        keep: Part of all frequencies that the filters keep; 1 is all of them.
        dropped: Relative L2 error of the filters for what they do not keep; other errors are those of the rest.
        dense_ms: Time with all frequencies, if not all are kept, else 0.
    """

    length: int
    batch: int
    channels: int
    taps: int
    dtype: str
    filters: str
    backend: str
    plan: str
    ms: float
    torch_ms: float
    copy_ms: float
    error: float
    fine_error: float
    mib: float
    torch_mib: float
    keep: float = 1.0
    dropped: float = 0.0
    dense_ms: float = 0.0
    row_error: float = 0.0

    @property
    def times_copy(self) -> float:
        """Time over that of the copy: 1 is the floor."""
        return self.ms / self.copy_ms

    @property
    def times_faster(self) -> float:
        """Torch's time over this one."""
        return self.torch_ms / self.ms


@dataclass(frozen=True, slots=True)
class PlanMeasurement:
    """The plan that the cost model chose, beside the fastest of all plans; times in ms."""

    length: int
    batch: int
    channels: int
    taps: int
    chosen: str
    chosen_ms: float
    best: str
    best_ms: float


def measure(
    batch: int,
    channels: int,
    length: int,
    *,
    taps: int,
    dtype: torch.dtype,
    device: torch.device,
    filters: Filters = "random",
    keep: float = 1.0,
) -> Measurement:
    """Checks and times one convolution, whose filters keep the lowest `keep` of all frequencies.

    Raises:
        BenchmarkError: The result is not within `BOUNDS`.
    """
    case = operands(batch, channels, length, taps, dtype, device, filters)
    weights = case.pop("taps")
    spectrum = prepare(weights, length, dtype=dtype, batch=batch, keep=keep)
    out = torch.full_like(case["u"], float("nan"))
    result = fftconv(taps=spectrum, **case, out=out)
    error, fine_error, row_error = _checked(result, spectrum, weights, case, filters=filters, keep=keep)

    def run(taps: Spectrum = spectrum) -> Tensor:
        return fftconv(taps=taps, **case, out=out, check=False)

    ms, copy_ms = beside_copy(lambda: milliseconds(run, device), case["u"], case["in_gate"], out)
    dense_ms = 0.0
    if spectrum.band is not None:
        dense = prepare(weights, length, dtype=dtype, batch=batch)
        dense_ms = milliseconds(lambda: run(dense), device)
        del dense
    mib = peak_mib(run, device) + spectrum.nbytes / 2**20
    transform = torch.fft.rfft(weights.float(), 2 * length)
    torch_ms = milliseconds(lambda: plain_torch(case, transform), device)
    torch_mib = peak_mib(lambda: plain_torch(case, transform), device) + transform.nbytes / 2**20
    return Measurement(
        length=length, batch=batch, channels=channels, taps=taps, dtype=str(dtype).removeprefix("torch."),
        filters=filters, backend=backend_for(device, dtype), plan=_plan_name(spectrum), ms=ms, torch_ms=torch_ms,
        copy_ms=copy_ms, error=error, fine_error=fine_error, mib=mib, torch_mib=torch_mib, keep=keep,
        dropped=0.0 if spectrum.dropped is None else float(spectrum.dropped.square().mean().sqrt()), dense_ms=dense_ms,
        row_error=row_error,
    )  # fmt: skip


def measure_plans(
    batch: int, channels: int, length: int, *, taps: int, device: torch.device, dtype: torch.dtype = torch.float16
) -> PlanMeasurement:
    """Times every plan for one convolution."""
    case = operands(batch, channels, length, taps, dtype, device, "random")
    weights = case.pop("taps")
    out = torch.empty_like(case["u"])

    def timed(plan: Plan) -> float:
        spectrum = triton_path.prepare(weights, length, plan=plan)
        return milliseconds(lambda: fftconv(taps=spectrum, **case, out=out, check=False), device)

    times = {plan: timed(plan) for plan in candidates(length, taps)}
    chosen = choose(batch, channels, length, taps, rates_for(device))
    best = min(times, key=lambda plan: times[plan])
    return PlanMeasurement(length, batch, channels, taps, str(chosen), times[chosen], str(best), times[best])


def write_csv(path: Path, rows: "Sequence[DataclassInstance]", device: torch.device) -> None:
    """Writes measurements (at least one, all of a kind), each with what they were made on."""
    surroundings = machine(device)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=[*asdict(rows[0]), *surroundings], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            numbers = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(row).items()}
            writer.writerow(numbers | surroundings)


def machine(device: torch.device) -> dict[str, str]:
    """What measurements depend on: the processor or GPU, and versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    triton = version("triton") if find_spec("triton") else "none"
    return {"device": name, "torch": torch.__version__, "triton": triton}


def _cpu_name() -> str:
    """The processor's own name, and how many of its cores this machine has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []  # not Linux
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.processor() or platform.machine())} x {os.cpu_count()}"


def operands(
    B: int, H: int, L: int, K: int, dtype: torch.dtype, device: torch.device, filters: Filters
) -> dict[str, Any]:
    """Fresh signals, gates, filters and skip terms, by name; the same for the same length."""
    generator = torch.Generator(device).manual_seed(L)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    make = _random_filters if filters == "random" else _smooth_filters
    signals = {name: draw(B, H, L).to(dtype) for name in ("u", "in_gate", "out_gate")}
    return signals | {"taps": make(draw, H, K), "skip": draw(H)}


def _random_filters(draw: Callable[..., Tensor], H: int, K: int) -> Tensor:
    """Noise that decays exponentially."""
    weights = draw(H, K)
    weights *= torch.exp(torch.arange(K, device=weights.device) * (-5.0 / K)) / K**0.5
    return weights


def _smooth_filters(draw: Callable[..., Tensor], H: int, K: int) -> Tensor:
    """As implicit filters are: some slow waves under a window that never falls below 0.05."""
    phase, height, decay = draw(H, 16), draw(H, 16) * 0.1, draw(H, 1).abs() * 5.0
    t = torch.arange(K, device=phase.device) / K
    waves = torch.zeros(H, K, device=phase.device)
    for i in range(16):
        waves += height[:, i : i + 1] * torch.sin((2.0 * i) * t + phase[:, i : i + 1])
    return waves * (torch.exp(-decay * t) + 0.05)


def plain_torch(case: dict[str, Any], transform: Tensor) -> Tensor:
    """What one writes without this package."""
    L = case["u"].shape[-1]
    x = case["u"].float() * case["in_gate"].float()
    y: Tensor = torch.fft.irfft(torch.fft.rfft(x, 2 * L) * transform, 2 * L)[..., :L]
    y = y + case["skip"][:, None] * x
    gate: Tensor = case["out_gate"]
    return (y * gate).to(gate.dtype)


def _checked(
    result: Tensor, spectrum: Spectrum, weights: Tensor, case: dict[str, Any], *, filters: Filters, keep: float
) -> tuple[float, float, float]:
    """The result's error, that without the running mean, and the largest of a row; a BenchmarkError out of bounds."""
    B, H, L = result.shape
    error, fine_error, rows = _errors(result, weights, case, keep)
    row_error = max(rows.values())
    corners = [rows[b, h] for b in {0, B - 1} for h in {0, H - 1}]
    worst = max(corners) if filters == "smooth" else row_error
    least = 0.0 if spectrum.band is None else BAND_BOUND
    if not (error <= max(BOUNDS[result.dtype], least) and worst <= max(ROW_BOUNDS[result.dtype], least)):
        found = f"relative error {error:.2e}, of a row {worst:.2e}"
        raise BenchmarkError(f"length {L}, {spectrum.plan or 'torch'}: {found}")
    return error, fine_error, row_error


def _errors(
    result: Tensor, weights: Tensor, case: dict[str, Any], keep: float
) -> tuple[float, float, dict[tuple[int, int], float]]:
    """Relative errors of rows from all over the result: of all together, without the running mean, and of each."""
    B, H, _ = result.shape
    batch, rows = _spread(B, _BATCH_ROWS), {}
    totals = torch.zeros(2, 2, dtype=torch.float64, device=result.device)
    for h in _spread(H, _ROWS // len(batch)):
        for b in batch:
            at = (slice(b, b + 1), slice(h, h + 1))
            signals = {k: t[at] if t.ndim == 3 else t[h : h + 1] for k, t in case.items()}
            expected = reference.fftconv(taps=weights[h : h + 1], keep=keep, **signals)
            found = result[at].double()
            totals += torch.stack([_squares(found, expected), _squares(fine(found), fine(expected))])
            rows[b, h] = relative(found, expected)
    error, fine_error = (totals[:, 0] / totals[:, 1]).sqrt().tolist()
    return error, fine_error, rows


def _spread(count: int, most: int) -> list[int]:
    """At most so many of `count` indices, first and last among them, evenly spread."""
    if count <= most:
        return list(range(count))
    return [i * (count - 1) // (most - 1) for i in range(most)]


def _squares(result: Tensor, expected: Tensor) -> Tensor:
    """Sums of squares of difference and reference, (2,)."""
    return torch.stack([(result - expected).square().sum(), expected.square().sum()])


def fine(y: Tensor) -> Tensor:
    """The samples with their running mean taken off."""
    window = min(_SMOOTHED, y.shape[-1])
    return y - torch.nn.functional.avg_pool1d(y, window, 1, window // 2, count_include_pad=False)[..., : y.shape[-1]]


def relative(result: Tensor, expected: Tensor) -> float:
    """The relative L2 error."""
    return float((result - expected).norm() / expected.norm())


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Median time of a call: on a GPU of its kernels alone (a CUDA graph), after a first call has compiled them."""
    run()
    if device.type != "cuda":
        return median(clock(run) for _ in range(5))
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return median(events(graph.replay, device) for _ in range(9))


def beside_copy(kernel: Callable[[], float], a: Tensor, b: Tensor, out: Tensor) -> tuple[float, float]:
    """What `kernel` measures, and the time of the copy: the faster of one right before it and one right after it."""
    before = copy_milliseconds(a, b, out, out.device)
    ms = kernel()
    return ms, min(before, copy_milliseconds(a, b, out, out.device))


def copy_milliseconds(a: Tensor, b: Tensor, out: Tensor, device: torch.device) -> float:
    """Two tensors read and two written: by copies and by a kernel, in a graph and, on a GPU, without."""
    ways = [lambda: (out.copy_(a), out.copy_(b)), lambda: (torch.neg(a, out=out), torch.neg(b, out=out))]
    times = [milliseconds(way, device) for way in ways]
    if device.type == "cuda":
        times += [median(events(way, device) for _ in range(9)) for way in ways]
    return min(times)


def clock(run: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def events(run: Callable[[], object], device: torch.device) -> float:
    """Milliseconds that a GPU takes for one call."""
    start, end = _Event(enable_timing=True), _Event(enable_timing=True)
    start.record()
    run()
    end.record()
    torch.cuda.synchronize(device)
    return float(start.elapsed_time(end))


def peak_mib(run: Callable[[], object], device: torch.device) -> float:
    """Memory that a call takes beside what there is; 0 where it cannot be measured."""
    if device.type != "cuda":
        return 0.0
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _plan_name(spectrum: Spectrum) -> str:
    name = str(spectrum.plan) if spectrum.plan else f"{spectrum.n} by {spectrum.hop}"
    return f"1/{spectrum.band.ratio:g}: {name}" if spectrum.band else name


def shapes(device: torch.device, lengths: Sequence[int] | None) -> Iterator[tuple[int, int, int]]:
    """(B, H, L) of the table: the usual shapes, or about as many samples for given lengths."""
    usual = GPU_SHAPES if device.type == "cuda" else CPU_SHAPES
    for length in lengths or usual:
        samples = 1 << (27 if device.type == "cuda" else 21)
        batch, channels = usual.get(length) or (max(1, min(8, samples // length)), 0)
        yield batch, channels or max(1, min(768, samples // length // batch)), length
