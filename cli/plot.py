"""`genoconv plot`: a file of embeddings in, a picture of its records out."""

from pathlib import Path
from typing import Annotated

import typer

from genoconv.cli import options
from genoconv.cli.words import tell
from genoconv.errors import OutputError


def plot(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file that `genoconv embed` wrote.", show_default=False)
    ],
    colour: Annotated[
        str | None,
        typer.Option(
            "--colour",
            "--color",
            metavar="NAME",
            help="A column of the file or of --labels, or the field of ids a|b|c, by its number from 1.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="TSV or CSV with a header line, ids in its first column.")
    ] = None,
    matrix: Annotated[
        str, typer.Option(metavar="NAME", help="Which matrix of the file, as genoconv info names it.")
    ] = "X",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="PNG, SVG or PDF. [default: the file's name with .png]"),
    ] = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw the records along the two principal components of their embeddings (needs matplotlib)."""
    from genoconv.plot import draw

    target = output or Path(path.with_suffix(".png").name)
    if target.exists() and not force:
        raise OutputError("the picture exists already", where=str(target), fix="add --force to replace it")
    draw(path, target, matrix=matrix, colour=colour, table=labels)
    if not quiet:
        tell(f"wrote {target}")
