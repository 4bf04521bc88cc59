"""`genoconv info`: what a file says about itself, for a person or as JSON."""

from pathlib import Path
from typing import Annotated

import typer


def info(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file that `genoconv embed` wrote.", show_default=False)
    ],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a file holds: records, matrices, columns, model and settings."""
    from genoconv.outputs.inspection import read_info

    described = read_info(path)
    print(described.to_json() if json else described.to_text())
