"""`genoconv embed`: FASTA in, one HDF5 file of embeddings out."""

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genoconv.cli import options
from genoconv.cli.errors import PARTIAL
from genoconv.errors import UsageError

if TYPE_CHECKING:
    from genoconv.runs.estimate import Estimate
    from genoconv.runs.job import Job, Summary

FAILURES_SHOWN = 20
"""Failed records named on stderr; the file's provenance names all."""


class Pooling(StrEnum):
    """How the hidden states of a record become one row."""

    MEAN = "mean"
    MAX = "max"
    LAST = "last"


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
            "--pool", help="How a record becomes one row; repeatable, the first is X of the file. [default: mean]"
        ),
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
    device: options.Device = "auto",
    threads: options.Threads = None,
    batch_bases: Annotated[
        str,
        typer.Option("--batch-bases", metavar="auto|N", help="Padded bases computed together; auto: by free memory."),
    ] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, predict rows, disk, memory and time; write nothing.")
    ] = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Embed the records of FASTA files, one row each, into an HDF5 file that h5py, AnnData and scanpy read.

    Letters are upper-cased; U becomes T, other IUPAC codes become N, and both are counted. Nothing is cut: a record of
    any length is embedded whole. A record's numbers do not depend on the other records.
    """
    from genoconv.embed import check_outputs, prepare, run
    from genoconv.inputs.letters import LetterPolicy
    from genoconv.runs.estimate import estimate
    from genoconv.runs.job import EmbedSettings
    from genoconv.runs.progress import Progress
    from genoconv.runs.signals import stop_on_signals

    settings = EmbedSettings(
        filter_length=filter_length,
        dtype=dtype.value,
        tokens=tokens,
        device=device,
        threads=threads,
        batch_bases=batch_size(batch_bases),
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
    target = output or default_output(fasta)
    with stop_on_signals():
        if not dry_run:
            check_outputs(target, settings, overwrite=force)
        job = prepare(fasta, settings, tell=None if quiet else tell)
        if dry_run:
            print_estimate(job, estimate(job), target)
        else:
            if not quiet:
                print_start(job)
            with Progress(int(job.lengths.sum()), quiet=quiet) as progress:
                summary = run(job, target, overwrite=force, advance=progress.advance)
            if not quiet:
                print_summary(summary)
    print_failures(job)
    if job.failures:
        raise typer.Exit(PARTIAL)


def tell(line: str) -> None:
    """Say something on stderr."""
    print(f"genoconv: {line}", file=sys.stderr)


def batch_size(text: str) -> int | None:
    """Read --batch-bases: None for auto."""
    if text == "auto":
        return None
    number = text.replace("_", "").replace(",", "")
    if not number.isdecimal() or int(number) < 1:
        raise UsageError(f"--batch-bases is auto or a positive number of bases, not {text!r}")
    return int(number)


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


def print_start(job: "Job") -> None:
    """Say what will be computed, with what and where."""
    from genoconv.runs.devices import describe

    bases = int(job.lengths.sum())
    tell(f"{len(job.rows):,} records, {bases:,} bases; model {job.source.name} on {describe(job.device)}")
    replaced = {letter: count for letter, count in job.inputs.replaced.items() if count}
    if replaced:
        told = ", ".join(f"{letter} {count:,}" for letter, count in sorted(replaced.items()))
        tell(f"letters replaced or dropped: {told}")
    for skipped in job.inputs.skipped[:FAILURES_SHOWN]:
        tell(f"skipped: {skipped.where}: {skipped.reason}")
    longer = int((job.lengths > job.model.config.l_max).sum())
    if longer:
        tell(
            f"{longer:,} records are longer than the {job.model.config.l_max:,} positions of the model's filters; "
            "they are embedded whole, and marked longer_than_trained"
        )


def print_summary(summary: "Summary") -> None:
    """Say what was done."""
    from genoconv.outputs.formats import tokens_path
    from genoconv.runs.progress import duration

    rate = summary.bases / max(summary.seconds, 1e-9)
    tell(f"{summary.records:,} records, {summary.bases:,} bases in {duration(summary.seconds)} ({rate:,.0f} bases/s)")
    tell(f"wrote {summary.output}")
    if summary.tokens is not None:
        tell(f"wrote {summary.tokens}")
    elif tokens_path(summary.output).exists():
        tell(f"note: {tokens_path(summary.output)} is from an earlier run and does not belong to this file")


def print_failures(job: "Job") -> None:
    """Name the records without a row, and why."""
    for failure in job.failures[:FAILURES_SHOWN]:
        tell(f"failed: {failure.where}: {failure.reason}")
    if len(job.failures) > FAILURES_SHOWN:
        rest = len(job.failures) - FAILURES_SHOWN
        tell(f"and {rest:,} more; genoconv info --json names all of them")
    if job.failures:
        tell(f"{len(job.failures):,} records failed; the others are complete")


def print_estimate(job: "Job", expected: "Estimate", output: Path) -> None:
    """Print the prediction of --dry-run on stdout."""
    from genoconv.runs.devices import describe
    from genoconv.runs.progress import duration, size

    print(f"rows            {expected.rows:,} ({len(job.failures):,} records would fail)")
    print(f"bases           {expected.bases:,} (longest record {expected.longest:,}; padding {expected.padding:.1%})")
    print(f"output          {output}, {size(expected.bytes_on_disk)} on disk")
    print(f"memory          {size(expected.memory)} beside program and model, batches of {job.batch_bases:,} bases")
    print(f"time            {duration(expected.seconds)} at {expected.bases_per_second:,.0f} bases/s")
    print(f"model, device   {job.source.name} on {describe(job.device)}")
