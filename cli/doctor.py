"""`genoconv doctor`: what of this machine helps or hinders a run, and what to do about it."""

import json as jsons
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from genoconv.cli import options

BAD = 4


def doctor(
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Where outputs are to be written.", show_default=False)
    ] = Path(),
    json: options.Json = False,
) -> None:
    """Check GPU, driver, memory, Triton, kernels, disk, locks, HDF5 and models. Exit code 4 if something cannot run."""
    from genoconv.runs.doctor import examine

    findings = examine(folder)
    if json:
        found = [asdict(finding) for finding in findings]
        print(jsons.dumps({"schema": "genoconv-doctor", "schema_version": "1.0", "findings": found}, indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.state:<5} {finding.name:<{width}}  {finding.found}")
            if finding.fix:
                print(f"{'':<5} {'':<{width}}  to do: {finding.fix}")
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(BAD)
