"""The command `genoconv`: from its arguments to one command, and from what that raises to an exit code."""

import os
import sys
from typing import Annotated

import typer

from genoconv import __version__
from genoconv.cli import bench, doctor, embed, errors, evaluate, info, merge, models, plot, slurm, train, verify
from genoconv.runs.signals import stop_on_signals

app = typer.Typer(
    name="genoconv",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 complete; 1 unexpected fault; 2 usage or input; 3 finished, but some records failed; "
    "4 environment (disk, memory, device, model); 75 interrupted, start it again; 130 Ctrl-C.",
)
app.command("embed")(embed.embed)
app.command("merge")(merge.merge)
app.command("slurm", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(slurm.slurm)
app.command("doctor")(doctor.doctor)
app.command("info")(info.info)
app.command("verify")(verify.verify)
app.command("plot")(plot.plot)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(models.app, name="models")
app.add_typer(bench.app, name="bench")


def _print_version(requested: bool) -> None:
    """Answer --version and stop."""
    if requested:
        print(f"genoconv {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (in any place).")] = False,
) -> None:
    """Embed DNA sequences of up to millions of bases with HyenaDNA: FASTA in, HDF5 out."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    # Threads of torch's OpenMP that wait for each other burn their cores by default. On two cores shared with other
    # programs genes.fa took 18.5 s (12.5 CPU s) with the default, 12.2 s (6.6) with 20,000 turns, 9.9 s (5.3) with
    # none; not measured on a quiet machine.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    debug = "--debug" in arguments[:end]
    # --debug is accepted anywhere, so that a failed command can be repeated with the word appended.
    arguments = [word for place, word in enumerate(arguments) if word != "--debug" or place > end]
    try:
        with stop_on_signals(for_good=True):
            app(args=arguments, prog_name="genoconv")
    except Exception as error:
        sys.exit(errors.report(error, debug=debug))
