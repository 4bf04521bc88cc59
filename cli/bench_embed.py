"""`genoconv bench embed`: how fast a whole model is on this machine, and a whole run, beside plain torch."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genoconv.cli import options
from genoconv.cli.embed import Precision, memory_size
from genoconv.errors import UsageError

if TYPE_CHECKING:
    import torch

    from genoconv.measuring.flow import FlowRow
    from genoconv.measuring.model import Row


def embed(
    fasta: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FASTA...]",
            help="Measure whole runs on these files, from FASTA to HDF5 in a temporary folder. [default: the model "
            "alone, on random bases]",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="As for embed. [default: random weights of the shape of hyenadna-large-1m]"),
    ] = None,
    lengths: Annotated[
        str | None, typer.Option("--lengths", metavar="L,L,...", help="Bases of a row. [default: by device]")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, metavar="B", help="Rows. [default: fewer, the longer they are]")
    ] = None,
    precision: Annotated[Precision, typer.Option("--precision", help="As for embed.")] = Precision.AUTO,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="As for embed: 24G. [default: most of the free]")
    ] = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    no_plain: Annotated[bool, typer.Option("--no-plain", help="Do not time plain torch.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all numbers to a CSV file.")] = None,
) -> None:
    """Time a model of random or real weights beside the same model in plain torch, or whole runs on FASTA files.

    Results are checked before anything is timed. Plain torch runs in bfloat16 (autocast) on a GPU, in float32 on a CPU,
    and beside --precision half on a CPU in bfloat16 as well.
    """
    from genoconv.cli.bench import chosen_lengths
    from genoconv.kernels.benchmark import machine, write_csv
    from genoconv.runs.devices import choose_device

    place, limit = choose_device(device), memory_size(max_memory)
    print("  ".join(f"{k}: {v}" for k, v in machine(place).items()), file=sys.stderr)
    if fasta:
        if lengths or batch:
            raise UsageError("--lengths and --batch are for random bases, and FASTA files are given", fix="leave out")
        flow = measure_flow(fasta, model, str(place), precision, limit, threads)
        print_flow(flow)
        if csv:
            write_csv(csv, [flow], place)
        return
    rows = []
    for row in measured(model, chosen_lengths(lengths), batch, place, precision, limit, threads, plain=not no_plain):
        rows.append(row)
        if csv:  # after each row: a later one may fail
            write_csv(csv, rows, place)


def measured(
    model: str | None,
    lengths: list[int] | None,
    batch: int | None,
    place: "torch.device",
    precision: Precision,
    max_memory: int | None,
    threads: int | None,
    *,
    plain: bool,
) -> "Iterator[Row]":
    """Measures length after length, and prints each row when it is there."""
    from genoconv.measuring.model import Case, measure, shapes
    from genoconv.model.names import resolve

    path = resolve(model).path if model else None
    print(f"{'length':>9} {'B':>3} {'':4} {'ms':>9} {'Mbases/s':>8} {'first':>9} {'GiB':>6} {'told':>6}", end="")
    print(f" {'plain ms':>9} {'GiB':>6} {'faster':>6} {'error':>8} {'1-cos':>8}", flush=True)
    for length, count in shapes(place, lengths, batch):
        case = Case(
            length=length, batch=count, model=path, device=place, precision=precision.value, max_memory=max_memory,
            threads=threads,
        )  # fmt: skip
        row = measure(case, plain=plain)
        print_row(row)
        yield row


def print_row(row: "Row") -> None:
    """One row of the table, and the parts of its time under it."""
    print(
        f"{row.length:9,} {row.batch:3} {row.precision} {row.ms:9.1f} {row.bases_per_s / 1e6:8.3g} {row.first_ms:9.1f} "
        f"{row.memory_gib:6.2f} {row.predicted_gib:6.2f} {_number(row.plain_ms, '9.1f')} "
        f"{_number(row.plain_gib, '6.2f')} {_number(row.times_faster, '5.1f')}x {row.error:8.1e} {1 - row.cosine:8.1e}"
    )
    cpu = f"CPU time: {row.cpu_ms:.0f} ms, plain {_number(row.plain_cpu_ms, '.0f')}; " if row.cpu_ms else ""
    note = f"plain: {row.plain_note}; " if row.plain_note else ""
    if row.plain_half_ms:
        note += f"plain in bfloat16: {row.plain_half_ms:.1f} ms, {row.plain_half_ms / row.ms:.1f}x; "
    memory = f"activations {row.activations_gib:.2f} GiB, spectra {row.spectra_gib:.2f}"
    print(f"{'':14}{note}{cpu}{memory}; {row.shares}", flush=True)


def _number(value: float | None, form: str) -> str:
    return format("-", f">{form.partition('.')[0]}") if value is None else format(value, form)


def measure_flow(
    fasta: list[str],
    model: str | None,
    device: str,
    precision: Precision,
    max_memory: int | None,
    threads: int | None,
) -> "FlowRow":
    """Measures whole runs on FASTA files."""
    from genoconv.measuring.flow import measure_flow as measure
    from genoconv.runs.job import EmbedSettings

    settings = EmbedSettings(device=device, precision=precision.value, max_memory=max_memory, threads=threads)
    return measure(fasta, settings, model=model)


def print_flow(row: "FlowRow") -> None:
    """What was found, one line each."""
    print(f"{row.records:,} records, {row.bases:,} bases, the longest {row.longest:,}; precision {row.precision}")
    print(f"whole run       {row.bases_per_s / 1e6:9.3f} million bases/s (reading {row.read_s:.2f} s, ", end="")
    print(f"then {row.run_s:.2f} s)")
    print(f"model alone     {row.model_bases_per_s / 1e6:9.3f} million bases/s on the same batches")
    print(f"share           {row.share_of_model:9.2f}")
    print(f"padding         {row.padding:9.1%}")
    print(f"peak memory     {row.memory_gib:9.2f} GiB ({row.predicted_gib:.2f} told before)")
