"""The whole flow on one page: FASTA records -> units of work -> pooled rows, in parts -> one HDF5 file."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np

from genoconv.errors import GenoconvError, InputError, OutputError, UsageError
from genoconv.inputs.ahead import ahead
from genoconv.inputs.batches import plan_units
from genoconv.inputs.fasta import Named, Records
from genoconv.inputs.scan import scan
from genoconv.model.files import file_sha256
from genoconv.model.half import operands
from genoconv.model.names import resolve
from genoconv.outputs.atomic import AtomicFile
from genoconv.outputs.formats import predicted_bytes, predicted_token_bytes, tokens_path, total_width
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.inspection import read_info
from genoconv.outputs.parts import Parts, parts_path
from genoconv.outputs.pooling import SITE
from genoconv.outputs.tokens import token_layout
from genoconv.runs.assembly import Assembly
from genoconv.runs.compute import AHEAD, Done, failed_fast, no_memory, no_site, work
from genoconv.runs.deviation import deviation
from genoconv.runs.devices import choose_devices, use_threads
from genoconv.runs.engines import make_engine
from genoconv.runs.job import EmbedSettings, Failure, Job, Summary, wanted_regions
from genoconv.runs.memory import SLACK, fits, unit_budget
from genoconv.runs.provenance import computes, description, differences
from genoconv.runs.shards import WHOLE, Shard, deal
from genoconv.runs.transfers import Unit, batches
from genoconv.runs.workers import Errand, Team, warm_up, work_on_all

NEAR_THE_END = 1 << 24
"""Bases still to be computed when the output file is begun: a second's work of a GPU, twice what it takes for reads."""


def prepare(
    inputs: Sequence[str | Path],
    settings: EmbedSettings,
    *,
    shard: Shard = WHOLE,
    tell: Callable[[str], None] | None = None,
) -> Job:
    """Read and check the whole input once, load the model, and divide the work.

    Args:
        inputs: FASTA files, plain or compressed; "-" is standard input.
        settings: What is asked for.
        shard: The share of the input that is to be done.
        tell: Told what takes long before the work proper: a model that is being downloaded. None: say nothing.

    Raises:
        InputError: The input is not FASTA, is damaged, repeats ids, or holds nothing to embed.
        ModelError: The model cannot be found or loaded.
        UsageError: Settings that do not fit the model.
        EnvironmentProblem: The device is not there.
    """
    if settings.site is not None and SITE not in settings.poolings:
        raise UsageError("a site is given, but no pooling at a site", fix="add --pool site")
    use_threads(settings.threads)
    devices = choose_devices(settings.device)
    source = resolve(settings.model, report=tell, progress=tell is not None)
    if settings.precision == "auto" and len({device.type for device in devices}) > 1:
        settings = replace(settings, precision="high")  # one that all of them can do
    if settings.precision == "half" and len({operands("half", device) for device in devices}) > 1:
        raise UsageError("half precision is float16 on a GPU, bfloat16 on a CPU", fix="choose devices of one kind")
    team = Team(devices, settings, source.path) if len(devices) > 1 else None
    with ThreadPoolExecutor(1) as beside:
        beside.submit(file_sha256, source.weights)  # remembered for the description of the run
        found = scan(inputs, settings.letters, duplicates=settings.duplicates, regions=wanted_regions(settings))
        beside.submit(lambda: found.records_sha256)  # as well, while the model is loaded
        engine = make_engine(settings, source.path, devices[0], int(found.lengths.max(initial=1)))
        if team is None:
            warm_up(engine)
    possible = fits(found.lengths, engine.demand, engine.memory)
    failures = [Failure(bad.id, bad.where, bad.reason) for bad in found.failures]
    impossible = np.flatnonzero(~possible).tolist()
    failures += [no_memory(found.ids[row], int(found.lengths[row]), row) for row in impossible]
    short = np.flatnonzero(found.lengths < (settings.site or 1)).tolist()
    failures += [no_site(found.ids[row], int(found.lengths[row]), settings, row) for row in short if possible[row]]
    possible[short] = False
    if not possible.any():
        first = f"; the first: {failures[0].where}: {failures[0].reason}" if failures else ""
        raise InputError(f"no record of the input can be embedded ({len(failures)} failed{first})")
    if failures and settings.fail_fast:
        raise failed_fast(failures[0])
    unit_bases = settings.batch_bases or unit_budget(found.total_bases, devices[0])
    planned = plan_units(found.lengths, unit_bases, slack=SLACK[devices[0].type])
    pools = share(planned, found.lengths, shard)
    mine = np.zeros(len(found.ids), dtype=bool)
    for unit in chain.from_iterable(pools):
        mine[unit] = True
    failures = [failure for failure in failures if (shard.index == 1 if failure.row < 0 else mine[failure.row])]
    rows = np.flatnonzero(mine & possible)
    return Job(settings, found, shard, unit_bases, pools, rows, failures, source, devices, engine, team)


def share(pools: Sequence[Sequence[Array]], lengths: Array, shard: Shard) -> list[list[Array]]:
    """The units of one shard, pool by pool."""
    units = list(chain.from_iterable(pools))
    mine = set(deal(units, lengths, shard))
    numbered = enumerate(units)
    return [[unit for number, unit in islice(numbered, len(pool)) if number in mine] for pool in pools]


def check_outputs(output: Path, settings: EmbedSettings, *, overwrite: bool) -> None:
    """Find out at once, before the input is read, that the output cannot be written or is something else.

    Raises:
        OutputError: As said.
    """
    for path in (output, tokens_path(output)) if settings.tokens else (output,):
        AtomicFile(path, overwrite=overwrite or _is_ours(path)).discard()


def already_done(job: Job, output: Path, *, overwrite: bool) -> Summary | None:
    """What an earlier start of the same run made, or None if its output is not there or is to be replaced.

    Raises:
        OutputError: The output is there, and of another run.
    """
    if overwrite or not output.exists():
        return None
    info = read_info(output)
    changed = differences(info.provenance, description(job))
    tokens = tokens_path(output) if job.settings.tokens else None
    if changed or (tokens is not None and not tokens.exists()):
        raise OutputError(
            f"the output exists already, and is of another run: {changed[0] if changed else f'{tokens} is missing'}",
            where=str(output),
            fix="Add --force to replace it, or name another.",
        )
    if parts_path(output).exists():  # killed between its last two steps
        with Parts(output) as parts:
            parts.remove()
    job.failures = [Failure(**failure) for failure in info.provenance["failures"]]
    job.recomputed = {one["row"]: one["reason"] for one in info.provenance.get("recomputed", [])}
    return Summary(
        output=output,
        tokens=tokens,
        records=info.records,
        bases=int(job.lengths.sum()),
        resumed=info.records,
        bases_computed=0,
        seconds=0.0,
        failures=job.failures,
        replaced=job.inputs.replaced,
        found=True,
    )


def run(
    job: Job,
    output: Path,
    *,
    overwrite: bool = False,
    restart: bool = False,
    advance: Callable[[int], None] = lambda bases: None,
    resumed: Callable[[int, int], None] = lambda rows, bases: None,
) -> Summary:
    """Embed every record of the job that no earlier start has done, and write the file.

    Args:
        job: From `prepare`.
        output: The HDF5 file; it appears under this name only when it is complete. Beside it, until then, lies a folder
            with the parts that are done.
        overwrite: Replace an existing output.
        restart: Throw away what an earlier start has done.
        advance: Told the number of bases just done.
        resumed: Told the number of rows and bases that were done before.

    Returns:
        What was done; records that failed are named there and in the file's provenance.

    Raises:
        OutputError: The output exists, cannot be written, or parts of another run are there.
        InputError: The input changed since it was checked.
        Interrupted: By a signal; what is done is kept.
    """
    start = time.monotonic()
    with (
        open_parts(job, output, overwrite=overwrite, restart=restart) as parts,
        Assembly(job, parts, output, overwrite=overwrite) as assembly,
    ):
        done = parts.done(len(job.inputs.ids))
        before = int(done.sum())
        bases_before = int(job.inputs.lengths[done].sum())
        resumed(before, bases_before)
        if before < len(job.rows):
            job.deviation = deviation(job)
        left = int(job.lengths.sum()) - bases_before
        with closing(computed(job, parts, ~done)) as work_done:  # what is finished is committed, however this ends
            for finished in work_done:
                job.failures += finished.failures
                advance(finished.bases)
                left -= finished.bases
                if left <= NEAR_THE_END:
                    assembly.begin()
        parts.commit_if_due(following=assembly.seconds)
        parts.refresh()
        rows = assembly.complete(start=start)
        parts.remove()
    bases = int(job.inputs.lengths[rows].sum())
    return Summary(
        output=output,
        tokens=tokens_path(output) if job.settings.tokens else None,
        records=len(rows),
        bases=bases,
        resumed=before,
        bases_computed=bases - bases_before,
        seconds=time.monotonic() - start,
        failures=job.failures,
        replaced=job.inputs.replaced,
    )


def open_parts(job: Job, output: Path, *, overwrite: bool = False, restart: bool = False) -> Parts:
    """The parts of an earlier start of the same run, or none yet.

    Raises:
        OutputError: Parts of another run are there, or there is no room for parts and output.
    """
    AtomicFile(output, overwrite=overwrite, needed_bytes=0 if parts_path(output).exists() else _needed(job)).discard()
    parts = Parts(output, restart=restart)
    try:
        changed = [] if parts.description is None else differences(parts.description, description(job))
        if changed:
            raise OutputError(
                f"an unfinished run of this output is another one: {'; '.join(changed)}",
                where=str(parts.folder),
                fix="Go on with the earlier settings and input, add --restart to start over, or name another output.",
            )
        if parts.description is None:
            parts.describe(partial(description, job))
        if job.settings.tokens or len(job.devices) > 1:  # what others write to
            parts.note_description()
        if job.settings.tokens:
            found, config = job.inputs, job.engine.model.config
            rows = np.union1d(job.rows, np.flatnonzero(parts.done(len(found.ids))))
            layout = token_layout(rows, found.lengths[rows], config.d_model, job.settings.dtype)
            parts.prepare_tokens(layout, tokens_path(output))
    except BaseException:
        parts.close()
        raise
    return parts


def computed(job: Job, parts: Parts, wanted: Array) -> Generator[Done]:
    """Compute what is wanted of the job, on its one device or on all of them; the results go to the parts."""
    if len(job.devices) == 1:
        interval, tokens = job.settings.commit_every, job.settings.tokens
        writer = parts.writer(0, about=computes(job.engine), interval=interval, tokens=tokens)
        both = SITE in job.settings.poolings
        coming = batches(units(job, wanted), job.devices[0], both_strands=both)
        return work(job.engine, coming, writer, ahead=AHEAD)
    team, job.team = job.team or Team(job.devices, job.settings, job.source.path), None
    errand = Errand(int(job.lengths.max(initial=1)), parts.folder, job.engine.precision)
    return work_on_all(team, errand, units(job, wanted))


def units(job: Job, wanted: Array) -> Iterator[Unit]:
    """Yield the wanted rows (a mask over all rows) in their units; a large input is read again, pool by pool.

    While a pool is computed, the next one is read.
    """
    wanted, found = wanted & np.isin(np.arange(len(wanted)), job.rows), job.inputs
    if found.held is not None:
        remaining = (unit[wanted[unit]] for unit in chain.from_iterable(job.pools))
        yield from ((unit, found.some(unit.tolist())) for unit in remaining if len(unit))
        return
    records = enumerate(found.records())

    def read(pool: Sequence[Array]) -> list[Unit]:
        remaining = [unit[wanted[unit]] for unit in pool]
        held = take(records, {row for unit in remaining for row in unit.tolist()})
        named = ((unit, [held[row] for row in unit.tolist()]) for unit in remaining if len(unit))
        return [(unit, Records([one.id for one in own], [one.sequence for one in own])) for unit, own in named]

    for pool in ahead(map(read, job.pools)):
        yield from pool


def take(records: Iterator[tuple[int, Named]], rows: set[int]) -> dict[int, Named]:
    """Read on until all of some rows are found."""
    held: dict[int, Named] = {}
    while len(held) < len(rows):
        row, record = next(records)
        if row in rows:
            held[row] = record
    return held


def _needed(job: Job) -> int:
    """Bytes that the parts and the output need together."""
    width, settings, lengths = job.engine.model.config.d_model, job.settings, job.lengths
    numbers = total_width(settings.poolings, job.engine.layers, width)
    needed = 2 * predicted_bytes(len(lengths), numbers, dtype=settings.dtype)
    if settings.tokens:  # which are written once
        needed += predicted_token_bytes(int(lengths.sum()), len(lengths), width, dtype=settings.dtype)
    return needed


def _is_ours(path: Path) -> bool:
    """Whether a file is one that an embedding run wrote; of which run, is seen later."""
    try:
        return path.is_file() and bool(read_info(path).format)
    except GenoconvError:
        return False
