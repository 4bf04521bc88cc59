"""A model, a length and a batch -> one row of the table: checked, then timed beside plain torch, with its memory.

Token ids are random and on the device before the clock starts: what is measured is the model alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from genoconv.errors import EnvironmentProblem, GenoconvError
from genoconv.measuring.cost import Cost, alone, cost
from genoconv.measuring.plain import plain_states
from genoconv.measuring.shares import shares
from genoconv.model.config import HyenaConfig
from genoconv.model.half import operands
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.inference import Precision, hidden_states
from genoconv.model.pretrained import load_model
from genoconv.model.spectra import filter_bank
from genoconv.runs.devices import bound_heaps, free_unused, is_out_of_memory, usable_cores, use_threads
from genoconv.runs.engines import prepare_for
from genoconv.runs.estimate import expected_memory
from genoconv.runs.job import EmbedSettings, Engine

LARGE = HyenaConfig(d_model=256, n_layer=8, d_inner=1024, l_max=1_000_002)
"""The shape of hyenadna-large-1m."""

GPU_SHAPES = {1024: 64, 32_768: 4, 160_000: 1, 450_000: 1, 1_000_000: 1, 2_097_152: 1, 4_194_304: 1}
CPU_SHAPES = {1024: 8, 32_768: 1, 160_000: 1}
"""Rows for each length of the usual tables."""

LARGEST_ERROR = {"float16": 3e-3, "bfloat16": 6e-3, "float32": 1e-5}
"""Relative L2 error of the final states, beyond which there is no row but an error; by operands of products."""
SMALLEST_COSINE = 0.99999
"""Of mean-pooled states with those of the reference."""

CHECKED_BASES = 1 << 18
"""In float32 so many bases at most are compared with plain torch: the first rows, or the first part of one."""
_COMPARED = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is to be measured.

    Attributes:
        length: Bases of a row.
        batch: Rows.
        model: Folder or file of a model; None: random weights of the shape `LARGE`.
        device: Where to compute.
        precision: `auto`, `high` or `half`.
        max_memory: As for a run.
        threads: CPU threads; None: all that the process may use.
    """

    length: int
    batch: int
    model: Path | None
    device: torch.device
    precision: str = "auto"
    max_memory: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; times in ms, memory in GiB.

    Attributes:
        precision: `half` or `high`.
        first_ms: The first run, with the filters' spectra made; the program and its kernels were loaded before.
        activations_gib: What a run takes beside weights and kept spectra.
        spectra_gib: Spectra of the filters that are kept for the next run.
        memory_gib: Both, at the peak of all runs; what `predicted_gib`, as --dry-run tells it, is to be.
        plain_ms: Plain torch: in bfloat16 (autocast) on a GPU, in float32 on a CPU; None if it was not measured.
        plain_note: Why it was not, such as "out of memory".
        plain_half_ms: Beside half precision on a CPU: plain torch in bfloat16 (autocast) too.
        error: Relative L2 error of the final states against float32; in float32 itself, against plain torch.
        cosine: Of mean-pooled states with those of the same reference; the worst row's.
        shares: Steps and their parts of the time.
    """

    length: int
    batch: int
    precision: Precision
    threads: int
    ms: float
    cpu_ms: float
    bases_per_s: float
    first_ms: float
    activations_gib: float
    spectra_gib: float
    memory_gib: float
    predicted_gib: float
    plain_ms: float | None
    plain_cpu_ms: float | None
    plain_gib: float | None
    plain_note: str
    plain_half_ms: float | None
    times_faster: float | None
    times_less_memory: float | None
    error: float
    cosine: float
    shares: str


def shapes(device: torch.device, lengths: Sequence[int] | None, batch: int | None) -> Iterator[tuple[int, int]]:
    """Lengths and rows of the table: the usual ones, or about as many bases for given lengths."""
    gpu = device.type == "cuda"
    usual = GPU_SHAPES if gpu else CPU_SHAPES
    for length in lengths or usual:
        yield length, batch or usual.get(length) or max(1, min(64, (1 << (17 if gpu else 13)) // length))


def measure(case: Case, *, plain: bool = True) -> Row:
    """Checks, then times one case, and plain torch after it.

    Raises:
        GenoconvError: The states are not within `LARGEST_ERROR` of the reference.
        EnvironmentProblem: There is not enough memory.
        UsageError: Half precision is asked for, and not possible.
    """
    found = alone(check, case, case.device)
    largest = LARGEST_ERROR[operands(found.precision, case.device)]
    if not (found.error <= largest and found.cosine >= SMALLEST_COSINE):
        raise GenoconvError(
            f"not timed, for the states are off: relative error {found.error:.1e}, cosine {found.cosine:.7f}",
            where=f"{case.length:,} bases, {case.batch} rows, precision {found.precision}",
            fix=f"at most {largest} and at least {SMALLEST_COSINE} are expected: please report it",
        )
    fast = alone(time_fast, case, case.device)
    theirs, note = _plain(time_plain, case) if plain else (None, "not asked for")
    too = plain and found.precision == "half" and case.device.type == "cpu"
    rounded, _ = _plain(time_plain_half, case) if too else (None, "")
    memory, ms = fast.cost.memory, fast.cost.ms
    return Row(
        length=case.length,
        batch=case.batch,
        precision=found.precision,
        threads=case.threads or usable_cores(),
        ms=ms,
        cpu_ms=fast.cost.cpu_ms,
        bases_per_s=case.length * case.batch / ms * 1e3,
        first_ms=fast.cost.first_ms,
        activations_gib=(fast.cost.later or memory - fast.spectra) / 2**30,
        spectra_gib=fast.spectra / 2**30,
        memory_gib=memory / 2**30,
        predicted_gib=fast.predicted / 2**30,
        plain_ms=theirs.ms if theirs else None,
        plain_cpu_ms=theirs.cpu_ms if theirs else None,
        plain_gib=theirs.memory / 2**30 if theirs else None,
        plain_note=note,
        plain_half_ms=rounded.ms if rounded else None,
        times_faster=theirs.ms / ms if theirs else None,
        times_less_memory=theirs.memory / memory if theirs and memory else None,
        error=found.error,
        cosine=found.cosine,
        shares="; ".join(f"{name} {part:.0%}" for name, part in fast.shares.items()),
    )


def _plain(time: Callable[[Case], tuple[Cost | None, str]], case: Case) -> tuple[Cost | None, str]:
    try:
        return alone(time, case, case.device)
    except EnvironmentProblem as died:
        return None, died.what


@dataclass(frozen=True, slots=True)
class Checked:
    """How the fast path computes a case, and how well: relative L2 error and smallest cosine."""

    precision: Precision
    error: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Fast:
    """What the fast path takes: `spectra` and `predicted` in bytes, `shares` of the time by step."""

    cost: Cost
    spectra: int
    predicted: int
    shares: dict[str, float]


def check(case: Case) -> Checked:
    """Compares the case with its reference; loads all that is loaded at first use.

    Raises:
        EnvironmentProblem: There is not enough memory.
    """
    engine = _engine(case)
    ids, bank = _ids(case), filter_bank(engine.model)
    budget, bank.budget = bank.budget, 0
    try:
        with torch.inference_mode():
            reference = _reference(engine, ids).cpu()
            bank.budget = budget
            rows, length = reference.shape[:2]
            found = _final(engine, ids)[:rows, :length]
            return Checked(engine.precision, *deviation(found, reference))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    raise EnvironmentProblem(f"there is not enough memory to check {case.length:,} bases, {case.batch} rows")


def deviation(found: Tensor, reference: Tensor) -> tuple[float, float]:
    """Relative L2 error of states (B, L, d), and the smallest cosine of their means over L."""
    wrong, whole = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    means = torch.zeros(2, found.shape[0], found.shape[2], dtype=torch.float64)
    step = max(1, _COMPARED // len(found))
    for a, b in zip(torch.split(found, step, 1), torch.split(reference, step, 1), strict=True):
        ours, theirs = a.cpu().double(), b.double()
        wrong += (ours - theirs).square().sum()
        whole += theirs.square().sum()
        means += torch.stack([ours.sum(1), theirs.sum(1)])
    return float((wrong / whole).sqrt()), float(torch.cosine_similarity(means[0], means[1], dim=1).min())


def time_fast(case: Case) -> Fast:
    """Times the path that runs take."""
    engine = _engine(case)
    ids, bank = _ids(case), filter_bank(engine.model)

    def run() -> None:
        _final(engine, ids)

    with torch.inference_mode():
        taken = cost(run, case.device)
        parts = shares(run, case.device, precision=engine.precision, ms=taken.ms)
    predicted = expected_memory(engine, [(case.batch, case.length)])
    return Fast(taken, bank.nbytes, predicted, parts)


def time_plain(case: Case) -> tuple[Cost | None, str]:
    """Times plain torch: in bfloat16 (autocast) on a GPU, in float32 on a CPU; None and the reason where it fails."""
    return _time_plain(case, half=case.device.type == "cuda")


def time_plain_half(case: Case) -> tuple[Cost | None, str]:
    """Times plain torch in bfloat16 (autocast); None and the reason where it fails."""
    return _time_plain(case, half=True)


def _time_plain(case: Case, *, half: bool) -> tuple[Cost | None, str]:
    model, ids, device = _model(case.model, case.device), _ids(case), case.device
    use_threads(case.threads)
    _forget(model, device)
    try:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            return cost(lambda: plain_states(model, ids), device), ""
    except RuntimeError as error:
        return None, "out of memory" if is_out_of_memory(error) else str(error).splitlines()[0]


def _reference(engine: Engine, ids: Tensor) -> Tensor:
    """Final states in float32: by the path for it, or for that path itself by plain torch, of a part of the bases."""
    if engine.precision == "half":
        return next(iter(hidden_states(engine.model, ids)))[1]
    rows = max(1, CHECKED_BASES // ids.shape[1])
    with torch.backends.cudnn.flags(enabled=False):  # which computes convolutions in TF32
        return plain_states(engine.model, ids[:rows, :CHECKED_BASES])


def _final(engine: Engine, ids: Tensor) -> Tensor:
    return next(iter(hidden_states(engine.model, ids, precision=engine.precision)))[1]


def _ids(case: Case) -> Tensor:
    """Random bases, (B, L) int64, on the device; the same for the same length."""
    generator = torch.Generator().manual_seed(case.length)
    return torch.randint(7, 11, (case.batch, case.length), generator=generator).to(case.device)


def _engine(case: Case) -> Engine:
    """The model, ready to compute the case in the memory that is free now."""
    use_threads(case.threads)
    settings = EmbedSettings(
        precision=case.precision, max_memory=case.max_memory, batch_bases=case.batch * case.length, threads=case.threads
    )
    model = _model(case.model, case.device)
    _forget(model, case.device)
    engine = Engine(settings, model, case.device, "high", layers=(-1,), memory=0, batch_bases=1)
    bound_heaps(case.device, case.length)
    prepare_for(engine, case.length)
    return engine


def _forget(model: HyenaDNA, device: torch.device) -> None:
    """Gives all memory back but that of the weights."""
    filter_bank(model).clear()
    free_unused(device)


@lru_cache(maxsize=1)
def _model(path: Path | None, device: torch.device) -> HyenaDNA:
    return load_model(path, device=device) if path else random_model().to(device)


def random_model() -> HyenaDNA:
    """Random weights of the shape `LARGE`, always the same."""
    torch.manual_seed(0)
    model = HyenaDNA(LARGE).eval()
    # Of the size that training gives them; as they start (0.02), rounding of the first states is blown up by the norms.
    torch.nn.init.normal_(model.embedding.weight)
    return model
