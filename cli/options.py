"""Option types that several commands share; the words of their help stand once, here."""

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where to compute; auto: a GPU if there is one.")
]
Devices = Annotated[
    str,
    typer.Option(
        "--device",
        "--devices",
        metavar="auto|cpu|cuda|cuda:N|all|LIST",
        help="Where to compute; auto: a GPU if there is one; all: every GPU; or several, with commas; a process each.",
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads [default: all this job may use].")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace an existing output, once the new one is complete.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary; errors are still told.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Fasta = Annotated[
    list[str],
    typer.Argument(metavar="FASTA...", help="FASTA files, plain, gzip or bgzip; - reads stdin.", show_default=False),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="[default: the input's name with .h5, in the working folder]"),
]
