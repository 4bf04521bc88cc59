"""`genoconv verify`: reads whole files and prints what is wrong with them."""

from pathlib import Path
from typing import Annotated

import typer

NOT_GOOD = 2


def verify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Files that `genoconv embed` wrote, of either kind.", show_default=False
        ),
    ],
) -> None:
    """Check that files are complete and undamaged: every number is read. Exit code 0 if all are good, 2 if not."""
    from genoconv.outputs import verification

    good = True
    for path in paths:
        findings = verification.verify(path)
        good = good and not findings
        for line in findings or ["good"]:
            print(f"{path}: {line}")
    if not good:
        raise typer.Exit(NOT_GOOD)
