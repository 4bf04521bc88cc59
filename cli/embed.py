"""`genoconv embed`: FASTA in, one HDF5 file of embeddings out."""

import re
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genoconv.cli import options
from genoconv.cli.words import (
    print_estimate,
    print_failures,
    print_resumed,
    print_start,
    print_summary,
    print_undivided,
    tell,
)
from genoconv.errors import UsageError

if TYPE_CHECKING:
    from genoconv.runs.job import Job, Summary

LARGEST_MARGIN = 30.0
"""Seconds before the end of --time-limit at which a run stops: Slurm leaves as much between SIGTERM and SIGKILL."""


class Pooling(StrEnum):
    """How the hidden states of a record become one row."""

    MEAN = "mean"
    MAX = "max"
    LAST = "last"
    SITE = "site"


class Duplicates(StrEnum):
    """What becomes of a repeated id."""

    ERROR = "error"
    FIRST = "first"
    NUMBER = "number"
    KEEP = "keep"


class Gaps(StrEnum):
    """What becomes of `-`, `.` and `*`."""

    N = "n"
    DROP = "drop"
    REFUSE = "refuse"


class ChrPrefix(StrEnum):
    """What becomes of the `chr` of chromosome names."""

    KEEP = "keep"
    ADD = "add"
    STRIP = "strip"


class Precision(StrEnum):
    """How a model computes."""

    AUTO = "auto"
    HIGH = "high"
    HALF = "half"


class StoredType(StrEnum):
    """The type of the stored numbers."""

    F4 = "f4"
    F2 = "f2"


def embed(
    fasta: options.Fasta,
    output: options.Output = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Built-in or public name, folder or file; see genoconv models list. "
            "[default: genoconv-mini, built in]",
        ),
    ] = None,
    pool: Annotated[
        list[Pooling] | None,
        typer.Option(
            "--pool",
            help="How a record becomes one row; repeatable, the first is X of the file. last: the last base; site: one "
            "base, the states of both strands side by side. [default: mean]",
        ),
    ] = None,
    site: Annotated[
        int | None,
        typer.Option("--site", min=1, metavar="N", help="The base that --pool site takes. [default: the middle one]"),
    ] = None,
    layer: Annotated[
        list[int] | None,
        typer.Option(
            "--layer",
            help="Hidden states: 0 embedding, i after block i, -1 final; repeatable, the first is X. [default: -1]",
        ),
    ] = None,
    filter_length: Annotated[
        int | None, typer.Option("--filter-length", min=1, metavar="K", help="Cut the long filters to K taps.")
    ] = None,
    frequency_sparsity: Annotated[
        float,
        typer.Option(
            metavar="S",
            help="Let the long filters do without the highest S of all frequencies: 0, or 0.6 to 0.98. Faster; "
            "how far off, is told.",
        ),
    ] = 0.0,
    tokens: Annotated[bool, typer.Option("--tokens", help="Also write one row per base, to NAME.tokens.h5.")] = False,
    dtype: Annotated[StoredType, typer.Option("--dtype", help="Type of the stored numbers.")] = StoredType.F4,
    region: Annotated[
        list[str] | None,
        typer.Option(
            "--region", "-r", metavar="CHR:START-END", help="Embed this stretch (1-based, inclusive) only; repeatable."
        ),
    ] = None,
    regions: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Embed the stretches of this BED, GTF or GFF3 file only; repeatable."),
    ] = None,
    feature: Annotated[str, typer.Option(help="Features of a GTF or GFF3 file to embed.")] = "gene",
    chr_prefix: Annotated[
        ChrPrefix, typer.Option(help="Change chromosome names of region files: 1 to chr1, or chr1 to 1.")
    ] = ChrPrefix.KEEP,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse letters other than A C G T N (either case).")
    ] = False,
    gaps: Annotated[Gaps, typer.Option("--gaps", help="What becomes of - . and *.")] = Gaps.N,
    duplicates: Annotated[
        Duplicates, typer.Option("--duplicates", help="What becomes of a repeated id.")
    ] = Duplicates.ERROR,
    device: options.Devices = "auto",
    threads: options.Threads = None,
    batch_bases: Annotated[
        str,
        typer.Option(
            "--batch-bases", metavar="auto|N", help="Padded bases computed together; auto: by device, input and memory."
        ),
    ] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision",
            help="high: float32; half: fused float16 kernels of a GPU or bfloat16 products of a CPU that has them, "
            "1e-3 off; auto: half on a GPU, with float32 for records that overflow there, and high on a CPU.",
        ),
    ] = Precision.AUTO,
    max_memory: Annotated[
        str | None,
        typer.Option(
            "--max-memory", metavar="SIZE", help="Memory to take on each device, like 24G. [default: most of the free]"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, predict rows, disk, memory and time; write nothing.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N|auto",
            help="Do the I-th of N shares of the input, balanced by bases, into NAME.shard-I-of-N.h5 (genoconv merge "
            "joins them); auto: as a Slurm array, srun or torchrun says.",
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what an interrupted run of this output has done.")
    ] = False,
    time_limit: Annotated[
        str | None,
        typer.Option(metavar="2h30m|HH:MM:SS", help="Stop in time, with exit code 75; start again to go on."),
    ] = None,
    commit_every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="Finished records are safe on the disk after so long.")
    ] = 60.0,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="End the run at the first record that fails.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write how the run went, however it ends.")
    ] = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Embed the records of FASTA files, one row each, into an HDF5 file that h5py, AnnData and scanpy read.

    Letters are upper-cased; U becomes T, other IUPAC codes become N, and both are counted. Nothing is cut: a record of
    any length is embedded whole. A record's numbers do not depend on the other records.
    """
    from genoconv.embed import already_done, check_outputs, prepare
    from genoconv.inputs.letters import LetterPolicy
    from genoconv.runs.devices import own_device
    from genoconv.runs.estimate import estimate
    from genoconv.runs.job import EmbedSettings
    from genoconv.runs.report import PARTIAL, RunReport, write_failures
    from genoconv.runs.shards import WHOLE, read_shard, shard_path
    from genoconv.runs.signals import stop_on_signals

    settings = EmbedSettings(
        site=site,
        filter_length=filter_length,
        frequency_sparsity=sparsity(frequency_sparsity),
        dtype=dtype.value,
        tokens=tokens,
        device=device,
        threads=threads,
        batch_bases=batch_size(batch_bases),
        precision=precision.value,
        max_memory=memory_size(max_memory),
        fail_fast=fail_fast,
        commit_every=commit_every,
        letters=LetterPolicy(strict=strict, gaps=gaps.value),
        duplicates=duplicates.value,
        regions=tuple(region or ()),
        region_files=tuple(regions or ()),
        feature=feature,
        chr_prefix=chr_prefix.value,
    )
    if model is not None:
        settings = replace(settings, model=model)
    if pool:
        settings = replace(settings, poolings=tuple(kind.value for kind in pool))
    if layer:
        settings = replace(settings, layers=tuple(layer))
    mine = read_shard(shard) if shard else WHOLE
    if mine.count > 1:
        settings = replace(settings, device=own_device(device, mine))
    if not shard and not quiet:
        print_undivided()
    target = shard_path(output or default_output(fasta), mine)
    with RunReport(report, settings, target) as told, stop_on_signals(after=working_time(time_limit)):
        if not dry_run:
            check_outputs(target, settings, overwrite=force)
        told.job = job = prepare(fasta, settings, shard=mine, tell=None if quiet else tell)
        table = None
        if dry_run:
            print_estimate(job, estimate(job), target)
        else:
            done = already_done(job, target, overwrite=force)
            told.summary = done or compute(job, target, force=force, restart=restart, quiet=quiet)
            table = write_failures(target, [asdict(failure) for failure in job.failures])
    if told.summary is not None and not quiet:
        print_summary(job, told.summary)
    print_failures(job, table)
    if job.failures:
        raise typer.Exit(PARTIAL)


def compute(job: "Job", target: Path, *, force: bool, restart: bool, quiet: bool) -> "Summary":
    """Run the job, and say how far it is."""
    from genoconv.embed import run
    from genoconv.runs.devices import bound_heaps
    from genoconv.runs.progress import Progress

    bound_heaps(job.engine.device, int(job.lengths.max(initial=1)))
    if not quiet:
        print_start(job)
    with Progress(int(job.lengths.sum()), quiet=quiet) as progress:

        def resumed(rows: int, bases: int) -> None:
            progress.skip(bases)
            if not quiet:
                print_resumed(rows)

        return run(job, target, overwrite=force, restart=restart, advance=progress.advance, resumed=resumed)


def working_time(limit: str | None) -> float | None:
    """Seconds until the run has to stop computing, so that it has committed and ended within --time-limit."""
    from genoconv.runs.progress import read_duration
    from genoconv.runs.signals import process_age

    if limit is None:
        return None
    seconds = read_duration(limit)
    return seconds - min(LARGEST_MARGIN, seconds / 10) - process_age()


def batch_size(text: str) -> int | None:
    """Read --batch-bases: None for auto."""
    if text == "auto":
        return None
    number = text.replace("_", "").replace(",", "")
    if not number.isdecimal() or int(number) < 1:
        raise UsageError(f"--batch-bases is auto or a positive number of bases, not {text!r}")
    return int(number)


def sparsity(share: float) -> float:
    """Check --frequency-sparsity."""
    if share and not 0.6 <= share <= 0.98:
        raise UsageError(f"--frequency-sparsity is 0, or from 0.6 to 0.98, not {share}")
    return share


def memory_size(text: str | None) -> int | None:
    """Bytes of --max-memory: a number with K, M, G or T for powers of 1024 (24G, 512MiB), or without for bytes."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not found or not float(found[1]):
        raise UsageError(f"--max-memory is a size like 24G or 512M, not {text!r}")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def default_output(fasta: list[str]) -> Path:
    """`genes.h5` in the working folder for `any/where/genes.fa.gz`.

    Raises:
        UsageError: There is no single input to take the name from.
    """
    if len(fasta) > 1 or fasta[0] == "-":
        raise UsageError("the output needs a name when the input is stdin or several files", fix="add --output FILE.h5")
    name = Path(fasta[0]).name
    for ending in (".gz", ".bgz", ".bgzf"):
        name = name.removesuffix(ending)
    return Path(f"{Path(name).stem or name}.h5")
