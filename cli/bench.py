"""`genoconv bench`: how fast and how accurate convolutions and models are on this machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genoconv.cli import bench_embed, options

if TYPE_CHECKING:
    import torch

    from genoconv.kernels.benchmark import Filters, Measurement

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Measure speed, memory and accuracy on this machine."
)
app.command("embed")(bench_embed.embed)

Lengths = Annotated[
    str | None, typer.Option("--lengths", metavar="L,L,...", help="Lengths of the signals [default: powers of two].")
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the numbers to a CSV file as well.")]


@app.command()
def conv(
    device: options.Device = "auto",
    lengths: Lengths = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Rows of the batch [default: by length].")] = None,
    channels: Annotated[int | None, typer.Option("--channels", min=1, help="Channels [default: by length].")] = None,
    taps: Annotated[
        int | None, typer.Option("--taps", min=1, help="Taps of the filters [default: the length].")
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="float16|bfloat16|float32|auto", help="auto: float16 on a GPU.")
    ] = "auto",
    filters: Annotated[
        str, typer.Option("--filters", metavar="random|smooth", help="Decaying noise, or slow waves as models have.")
    ] = "random",
    backward: Annotated[bool, typer.Option("--backward", help="The gradients of all operands instead.")] = False,
    frequency_sparsity: Annotated[
        float, typer.Option("--frequency-sparsity", metavar="PART", help="Of all frequencies, the highest, to drop.")
    ] = 0.0,
    csv: Csv = None,
) -> None:
    """Check the gated convolution against float64, then time it beside torch.fft and a plain copy."""
    from genoconv.kernels import backward_benchmark, benchmark

    keep = _kept(frequency_sparsity, backward=backward)
    place, numbers = _place(device), chosen_lengths(lengths)
    kind, chosen = _dtype(dtype, place.type), _filters(filters)
    print("  ".join(f"{k}: {v}" for k, v in benchmark.machine(place).items()), file=sys.stderr)
    titles = f"{'ms':>9} {'x copy':>7} {'torch':>7} {'error':>8} {'worst':>8} {'MiB':>8}"
    print(f"{'length':>9} {'B':>3} {'H':>4}  {'plan':26} {titles}")
    rows = []
    for usual_batch, usual_channels, length in benchmark.shapes(place, numbers):
        shape = (batch or usual_batch, channels or usual_channels, length)
        count = min(taps or length, length)
        if backward:
            row = backward_benchmark.measure(*shape, taps=count, dtype=kind, device=place, filters=chosen)
        else:
            row = benchmark.measure(*shape, taps=count, dtype=kind, device=place, filters=chosen, keep=keep)
        rows.append(row)
        print(
            f"{length:9,} {row.batch:3} {row.channels:4}  {row.plan:26} {row.ms:9.3f} {row.times_copy:7.2f} "
            f"{row.times_faster:6.1f}x {row.error:8.1e} {row.row_error:8.1e} {row.mib:8.0f}"
            f"{_against_dense(row)}",
            flush=True,
        )
    if csv:
        benchmark.write_csv(csv, rows, place)


@app.command()
def plan(
    device: options.Device = "auto",
    lengths: Lengths = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Time the kernels on this GPU (minutes), to choose plans by it from now on."),
    ] = False,
    csv: Csv = None,
) -> None:
    """Compare the plan that the cost model chooses with the fastest of all plans (needs a GPU)."""
    from genoconv.errors import EnvironmentProblem
    from genoconv.kernels import benchmark

    place = _place(device)
    if place.type != "cuda":
        raise EnvironmentProblem("only the kernels for GPUs have plans to compare", fix="run this on a GPU")
    if measure:
        _measure(place)
        return
    print(f"{'length':>9} {'B':>3} {'H':>4}  {'chosen':26} {'ms':>9}  {'best':26} {'ms':>9} {'ratio':>6}")
    rows = []
    for batch, channels, length in benchmark.shapes(place, chosen_lengths(lengths)):
        row = benchmark.measure_plans(batch, channels, length, taps=length, device=place)
        rows.append(row)
        print(
            f"{length:9,} {batch:3} {channels:4}  {row.chosen:26} {row.chosen_ms:9.3f}  {row.best:26} "
            f"{row.best_ms:9.3f} {row.chosen_ms / row.best_ms:6.2f}",
            flush=True,
        )
    if csv:
        benchmark.write_csv(csv, rows, place)


def _measure(place: "torch.device") -> None:
    """Times the kernels and keeps their rates in the user's cache folder."""
    import torch

    from genoconv.errors import EnvironmentProblem
    from genoconv.kernels import benchmark, calibration
    from genoconv.kernels.monarch import rates

    properties = torch.cuda.get_device_properties(place)
    timed = calibration.timer(place, lambda line: print(line, flush=True))
    try:
        found = calibration.measure(timed, device=properties.name, multiprocessors=properties.multi_processor_count)
    except benchmark.BenchmarkError as error:
        raise EnvironmentProblem(str(error), fix="measure again when nothing else uses the GPU") from error
    path = rates.cache_file(found.device)
    rates.write(path, found)
    print(f"written to {path}", file=sys.stderr)


def _place(device: str) -> "torch.device":
    from genoconv.runs.devices import choose_device

    return choose_device(device)


def chosen_lengths(text: str | None) -> list[int] | None:
    """Numbers from a list like 1024,4096.

    Raises:
        UsageError: It is something else.
    """
    from genoconv.errors import UsageError

    if text is None:
        return None
    words = text.replace("_", "").split(",")
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"--lengths takes whole numbers above 0, separated by commas, not {text!r}")
    return [int(word) for word in words]


def _dtype(name: str, place: str) -> "torch.dtype":
    import torch

    from genoconv.errors import UsageError

    dtypes = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
    dtypes["auto"] = torch.float16 if place == "cuda" else torch.float32
    if name not in dtypes:
        raise UsageError(f"--dtype is one of {', '.join(dtypes)}, not {name!r}")
    if place != "cuda" and dtypes[name] != torch.float32:
        raise UsageError(f"--dtype {name} is measured on a GPU only", fix="use --dtype float32")
    return dtypes[name]


def _kept(sparsity: float, *, backward: bool) -> float:
    """The part of the frequencies that is left."""
    from genoconv.errors import UsageError
    from genoconv.kernels.sparsity import LEAST_KEPT, MOST_KEPT

    if sparsity and backward:
        raise UsageError("--backward is measured with all frequencies", fix="leave out --frequency-sparsity")
    if sparsity == 0.0 or LEAST_KEPT <= 1.0 - sparsity <= MOST_KEPT:
        return 1.0 - sparsity
    raise UsageError(f"--frequency-sparsity is 0 or from {1 - MOST_KEPT} to {1 - LEAST_KEPT}, not {sparsity}")


def _against_dense(row: "Measurement") -> str:
    """What a sparse convolution gains over that with all frequencies, and what its filters lose."""
    return f"  {row.dense_ms / row.ms:.2f}x dense, {row.dropped:.1e} dropped" if row.keep < 1.0 else ""


def _filters(name: str) -> "Filters":
    from genoconv.errors import UsageError

    if name == "random":
        return "random"
    if name == "smooth":
        return "smooth"
    raise UsageError(f"--filters is random or smooth, not {name!r}")
