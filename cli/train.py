"""`genoconv train`: FASTA in, a model folder out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from genoconv.cli import options
from genoconv.training.settings import Pace, Precision, Settings, parse_stages


def train(
    fasta: options.Fasta,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the model, log and checkpoint.")],
    validation: Annotated[
        list[str] | None, typer.Option(metavar="FASTA", help="Held-out sequences (repeatable).")
    ] = None,
    validation_fraction: Annotated[
        float, typer.Option(help="Instead: hold out this share of every record, at its end.")
    ] = 0.0,
    start: Annotated[
        str | None, typer.Option("--from", metavar="MODEL", help="Continue from a model: its shape and weights.")
    ] = None,
    d_model: Annotated[int | None, typer.Option(min=1, help="Width [default: 128].")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Blocks [default: 4].")] = None,
    d_inner: Annotated[int | None, typer.Option(min=1, help="Width inside the MLPs [default: 4 x d-model].")] = None,
    l_max: Annotated[int | None, typer.Option(min=2, help="Taps of the long filters [default: 32770].")] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LENGTH[:SHARE]", help="Context in training; repeat to lengthen it in stages [default: 1024]."
        ),
    ] = None,
    batch_bases: Annotated[int, typer.Option(min=1, help="Bases in a step.")] = Settings.batch_bases,
    steps: Annotated[int, typer.Option(min=1, help="Steps in all.")] = Settings.steps,
    learning_rate: Annotated[float, typer.Option(help="Highest rate of AdamW.")] = Settings.learning_rate,
    warmup: Annotated[float, typer.Option(help="Share of the steps in which the rate rises.")] = Settings.warmup,
    weight_decay: Annotated[float, typer.Option(min=0, help="Of projections and MLPs.")] = Settings.weight_decay,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same run.")] = Settings.seed,
    one_strand: Annotated[bool, typer.Option("--one-strand", help="Do not learn from reverse complements.")] = False,
    filter_length: Annotated[
        int | None, typer.Option(min=1, help="Cut the long filters to so many taps (partial convolution).")
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="Of projections and MLPs; auto: bfloat16 on a GPU, else float32."),
    ] = "auto",
    log_every: Annotated[int, typer.Option(min=1, help="Steps between two progress lines.")] = Pace.log,
    validate_every: Annotated[
        int, typer.Option(min=0, help="Steps between two validations; 0: only at the end.")
    ] = Pace.validate,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.")] = Pace.checkpoint,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Fuse with torch.compile: a minute of patience, then faster steps.")
    ] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a model to predict the next base, or continue from one.

    Give held-out sequences with --validation, or --validation-fraction. The folder DIR then serves as --model.
    On several GPUs of a machine: torchrun --nproc-per-node 4 -m genoconv train ...; they share each batch.
    """
    from genoconv.runs.devices import choose_device, usable_cores, use_threads
    from genoconv.training.processes import device_here, processes_here, threads_here
    from genoconv.training.run import Data, train
    from genoconv.training.start import Shape, new_model, starting_point, with_shorter_filters

    use_threads(threads or threads_here(usable_cores()))
    where = choose_device(device_here(device))
    half: Precision = "bfloat16" if where.type == "cuda" else "float32"
    config, weights, identity = starting_point(start, Shape(d_model, layers, d_inner, l_max))
    settings = Settings(
        d_model=config.d_model,
        n_layer=config.n_layer,
        d_inner=config.d_inner,
        l_max=config.l_max,
        stages=parse_stages(context or ["1024"]),
        batch_bases=batch_bases,
        steps=steps,
        learning_rate=learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        seed=seed,
        both_strands=not one_strand,
        precision=half if precision == "auto" else precision,
        start=identity,
        filter_length=filter_length,
        compiled=compiled,
    )
    model = with_shorter_filters(weights or new_model(config, seed), filter_length).to(where)
    data = Data(fasta, validation or (), validation_fraction)
    pace = Pace(log_every, validate_every, checkpoint_every, quiet)
    with processes_here(where) as processes:
        train(model, data, out, settings, pace=pace, resume=resume, processes=processes)
