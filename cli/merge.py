"""`genoconv merge`: the files of all shards in, one file out."""

from pathlib import Path
from typing import Annotated

import typer

from genoconv.cli import options
from genoconv.cli.words import counted, tell


def merge(
    output: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="The file of the whole, as in --output.", show_default=False)
    ],
    shards: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SHARD]...", help="The files of the shards. [default: those beside OUTPUT]", show_default=False
        ),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the files of the shards when the whole is verified.")
    ] = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Join the shards of a run into the file that a run without shards would have written.

    All shards must be there, complete, undamaged, and of the same input, model and settings. Missing shards are named,
    and the records in them, which OUTPUT's name with .missing.tsv lists.
    """
    from genoconv import merge as merging
    from genoconv.outputs.formats import tokens_path
    from genoconv.runs.progress import duration
    from genoconv.runs.report import PARTIAL, write_failures
    from genoconv.runs.signals import stop_on_signals

    with stop_on_signals():
        merged = merging.merge(output, shards or (), overwrite=force)
        table = write_failures(output, merged.failures)
        if remove:
            for path in merged.shards:
                path.unlink()
                tokens_path(path).unlink(missing_ok=True)
    if not quiet:
        rate = merged.size_bytes / 1e6 / max(merged.seconds, 1e-9)
        joined = f"{counted(len(merged.shards), 'shard')}, {counted(merged.records, 'record')}"
        tell(f"{joined} in {duration(merged.seconds)} ({rate:,.0f} MB/s)")
        tell(f"wrote {merged.output}")
        if merged.tokens is not None:
            tell(f"wrote {merged.tokens}")
    if merged.failures:
        tell(f"{counted(len(merged.failures), 'record')} failed in the shards, listed in {table}")
        raise typer.Exit(PARTIAL)
