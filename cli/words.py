"""What `genoconv embed` says while it works: words on stderr; the prediction of --dry-run on stdout."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genoconv.runs.estimate import Estimate
    from genoconv.runs.job import Engine, Job, Summary

REASONS_SHOWN = 3
"""Reasons why records were recomputed that are named on stderr; the file's provenance names all."""

FAILURES_SHOWN = 20
"""Failed records named on stderr; the table beside the output and the file's provenance name all."""


def counted(number: int, noun: str) -> str:
    """`1 record`, `2,000 records`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def tell(line: str) -> None:
    """Say something on stderr."""
    print(f"genoconv: {line}", file=sys.stderr)


def print_start(job: "Job") -> None:
    """Say what will be computed, with what and where."""
    from genoconv.runs.devices import describe

    bases, devices = int(job.lengths.sum()), ", ".join(describe(device) for device in job.devices)
    share = f"; shard {job.shard} of the input (told by {job.shard.told_by})" if job.shard.count > 1 else ""
    tell(f"{counted(len(job.rows), 'record')}, {counted(bases, 'base')}; model {job.source.name} on {devices}{share}")
    tell(f"precision {how(job.engine)}")
    replaced = {letter: count for letter, count in job.inputs.replaced.items() if count}
    if replaced:
        told = ", ".join(f"{letter} {count:,}" for letter, count in sorted(replaced.items()))
        tell(f"letters replaced or dropped: {told}")
    for skipped in job.inputs.skipped[:FAILURES_SHOWN]:
        tell(f"skipped: {skipped.where}: {skipped.reason}")
    longer = int((job.lengths > job.engine.model.config.l_max).sum())
    if longer:
        tell(
            f"longer than the {job.engine.model.config.l_max:,} positions of the model's filters: "
            f"{counted(longer, 'record')}, embedded whole and marked longer_than_trained"
        )


def how(engine: "Engine") -> str:
    """How a model is computed: `half (products in bfloat16), convolutions by torch`."""
    from genoconv.runs.provenance import computes

    about = computes(engine)
    products = "" if about["precision"] == "high" else f" (products in {about['products']})"
    return f"{about['precision']}{products}, convolutions by {about['convolution']}"


def print_undivided() -> None:
    """Say that a batch system started several processes, each of which embeds all of the input that it was given."""
    from genoconv.runs.shards import undivided

    if who := undivided():
        tell(f"note: one of several processes of {who}, and this one embeds its whole input; --shard auto divides it")


def print_resumed(rows: int) -> None:
    """Say that an earlier start was not in vain."""
    if rows:
        tell(f"going on: {counted(rows, 'record')} done before")


def print_summary(job: "Job", summary: "Summary") -> None:
    """Say what was done."""
    from genoconv.outputs.formats import tokens_path
    from genoconv.runs.progress import duration

    if summary.found:
        tell(f"{summary.output} was complete already")
        return
    rate = summary.bases_computed / max(summary.seconds, 1e-9)
    done = f"{counted(summary.records, 'record')}, {counted(summary.bases, 'base')}"
    tell(f"{done} in {duration(summary.seconds)} ({rate:,.0f} bases/s)")
    if job.deviation is not None:
        off = job.deviation
        tell(
            f"what is left out of the filters moves the states of {off.record} (first {counted(off.bases, 'base')}) "
            f"by {off.relative_error:.2g} of their size; cosine of their means {off.cosine:.6f}"
        )
    if job.recomputed:
        tell(f"{counted(len(job.recomputed), 'record')} recomputed in high precision: {reasons(job)}")
    tell(f"wrote {summary.output}")
    if summary.tokens is not None:
        tell(f"wrote {summary.tokens}")
    elif tokens_path(summary.output).exists():
        tell(f"note: {tokens_path(summary.output)} is from an earlier run and does not belong to this file")


def reasons(job: "Job") -> str:
    """Why records were recomputed, the most frequent reasons first."""
    found = Counter(job.recomputed.values()).most_common()
    shown = [f"{reason} ({number:,})" for reason, number in found[:REASONS_SHOWN]]
    return "; ".join(shown) + (f"; and {len(found) - len(shown):,} more" if len(found) > len(shown) else "")


def print_failures(job: "Job", table: "Path | None") -> None:
    """Name the records without a row, and why; without a table, those that would have none."""
    for failure in job.failures[:FAILURES_SHOWN]:
        tell(f"failed: {failure.where}: {failure.reason}")
    if len(job.failures) > FAILURES_SHOWN:
        tell(f"and {len(job.failures) - FAILURES_SHOWN:,} more")
    if job.failures and table is None:
        tell(f"{counted(len(job.failures), 'record')} would have no row")
    elif job.failures:
        tell(f"{counted(len(job.failures), 'record')} failed, listed in {table}; the others are complete")


def print_estimate(job: "Job", expected: "Estimate", output: Path) -> None:
    """Print the prediction of --dry-run on stdout."""
    from genoconv.runs.devices import describe
    from genoconv.runs.progress import duration, size

    print(f"rows            {expected.rows:,} ({counted(len(job.failures), 'record')} would fail)")
    print(f"bases           {expected.bases:,} (longest record {expected.longest:,}; padding {expected.padding:.1%})")
    print(f"output          {output}, {size(expected.bytes_on_disk)} on disk (twice that until it is complete)")
    print(f"memory          {size(expected.memory)} beside program and model, batches of {job.unit_bases:,} bases")
    print(f"precision       {how(job.engine)}")
    print(f"time            {duration(expected.seconds)} at {expected.bases_per_second:,.0f} bases/s")
    print(f"model, device   {job.source.name} on {', '.join(describe(device) for device in job.devices)}")
