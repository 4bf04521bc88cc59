"""`genoconv slurm`: the arguments of `genoconv embed` in, a script for a Slurm cluster out."""

from pathlib import Path
from typing import Annotated

import typer

from genoconv.cli import embed as embedding
from genoconv.cli import options
from genoconv.cli.words import tell
from genoconv.errors import UsageError

RULED = ("--shard", "--output", "-o", "--device", "--devices", "--time-limit", "--dry-run", "--restart")
"""Options of `genoconv embed` that the script sets by itself, or that make no sense in it."""


def slurm(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="FASTA... [OPTION OF EMBED]...",
            help="FASTA files, and any further options of genoconv embed.",
            show_default=False,
        ),
    ],
    output: options.Output = None,
    shards: Annotated[int, typer.Option("--shards", "-n", min=1, help="Tasks of the job array.")] = 4,
    time: Annotated[str, typer.Option(metavar="HH:MM:SS", help="Time limit of a task; it goes on in a next one.")] = (
        "04:00:00"
    ),
    cpus: Annotated[int, typer.Option(min=1, help="CPUs of a task.")] = 4,
    mem: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory of a task, such as 16G.")] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of a task; all are used.")] = 0,
    partition: Annotated[str | None, typer.Option(help="Partition of the cluster.")] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION", help="A further option of sbatch, such as --sbatch=--account=me; repeatable."),
    ] = None,
    setup: Annotated[
        list[str] | None,
        typer.Option(metavar="LINE", help='A line of shell before genoconv, such as "module load cuda"; repeatable.'),
    ] = None,
    program: Annotated[str, typer.Option(metavar="COMMAND", help="How to call genoconv on the nodes.")] = "genoconv",
    script: Annotated[
        Path | None, typer.Option(metavar="FILE", help="[default: the output's name with .slurm.sh]")
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Submit the jobs as well.")] = False,
    force: options.Force = False,
) -> None:
    """Write a script that embeds in shards on a Slurm cluster, and merges them: a job array and a dependent merge.

    All other options are those of genoconv embed: they are checked here, and go to it.
    """
    from genoconv.runs import slurm as cluster

    for word in arguments:
        if word.split("=")[0] in RULED:
            raise UsageError(f"{word.split('=')[0]} is set by the script itself", fix="leave it out")
    fasta = inputs_of(arguments)
    if "-" in fasta:
        raise UsageError("a job reads files, not stdin", fix="name the FASTA files")
    target = output or embedding.default_output(fasta)
    path = script or target.with_name(f"{target.stem}.slurm.sh")
    request = cluster.SlurmRequest(
        arguments=arguments,
        output=target,
        shards=shards,
        time=time,
        cpus=cpus,
        memory=mem,
        gpus=gpus,
        partition=partition,
        options=tuple(sbatch or ()),
        setup=tuple(setup or ()),
        program=program,
    )
    cluster.write_script(request, path, overwrite=force)
    tell(f"wrote {path}")
    if submit:
        tell(cluster.submit(path))
    else:
        tell(f"submit it with: bash {path}")


def inputs_of(arguments: list[str]) -> list[str]:
    """The FASTA files among arguments of `genoconv embed`, all of which are checked.

    Raises:
        click.UsageError: It would not understand them, with its words.
    """
    checker = typer.Typer(add_completion=False)
    checker.command("embed")(embedding.embed)
    context = typer.main.get_command(checker).make_context("genoconv embed", list(arguments))
    return list(context.params["fasta"])
