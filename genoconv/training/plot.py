"""From the log of a training run to its loss plot, a PNG: `python -m genoconv.training.plot FOLDER`.

Needs matplotlib, which `pip install "genoconv[plot]"` brings.
"""

import argparse
import json
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from genoconv.errors import EnvironmentProblem, InputError
from genoconv.training.journal import JOURNAL

PLOT = "loss.png"
_INCHES = (8.0, 4.5)
_DOTS = 120  # per inch


def plot_losses(folder: Path) -> Path:
    """Draw perplexity over bases seen, in training and validation; lines mark where the context grew.

    Args:
        folder: Holds the log of a run; loss.png is written beside it.

    Returns:
        The picture.

    Raises:
        EnvironmentProblem: matplotlib is not installed.
        InputError: There is no log, or no step in it.
    """
    if find_spec("matplotlib") is None:
        raise EnvironmentProblem("the loss plot needs matplotlib", fix='pip install "genoconv[plot]"')
    lines = _lines(folder / JOURNAL)
    steps = [line for line in lines if line["event"] == "step"]
    if not steps:
        raise InputError("the log holds no steps to draw", where=str(folder / JOURNAL), fix="train for longer")
    return _draw(lines, steps, folder / PLOT)


def plot_if_possible(folder: Path) -> str:
    """Draw, or say in one line why not: a run that is trained does not fail for a picture."""
    try:
        return f"the loss plot is {plot_losses(folder)}"
    except EnvironmentProblem as error:
        return f"no loss plot: {error.what} ({error.fix}; then python -m genoconv.training.plot {folder})"


def _lines(log: Path) -> list[dict[str, Any]]:
    """The log, line by line."""
    try:
        return [json.loads(line) for line in log.read_text().splitlines()]
    except OSError as error:
        raise InputError(
            f"the log cannot be read: {error.strerror}", where=str(log), fix="name the folder of a run"
        ) from error


def _draw(lines: list[dict[str, Any]], steps: list[dict[str, Any]], path: Path) -> Path:
    """Draw with Agg, which needs no screen, and without a time in the file: the same log gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    seen = {line["step"]: line["bases"] / 1e6 for line in steps}
    each = steps[0]["bases"] / steps[0]["step"] / 1e6
    figure = Figure(figsize=_INCHES, dpi=_DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(list(seen.values()), [line["perplexity"] for line in steps], label="training", linewidth=1.2)
    checks = [line for line in lines if line["event"] in ("validation", "end")]
    places = [seen.get(line["step"], line["step"] * each) for line in checks]
    axes.plot(places, [line["perplexity"] for line in checks], "o-", label="validation", markersize=4)
    top = max(line["perplexity"] for line in steps)
    axes.annotate(f" context {steps[0]['context']:,}", (0, top), fontsize=8)
    for before, after in pairwise(steps):
        if before["context"] != after["context"]:
            axes.axvline(seen[before["step"]], color="grey", linewidth=0.8, linestyle=":")
            axes.annotate(f" {after['context']:,}", (seen[before["step"]], top), fontsize=8)
    axes.set_xlabel("million bases seen")
    axes.set_ylabel("perplexity of the next base")
    axes.legend(loc="center right")
    figure.savefig(path, metadata={"Software": None})
    return path


def main() -> None:
    """The command line of the plot."""
    parser = argparse.ArgumentParser(prog="python -m genoconv.training.plot", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of a run: holds log.jsonl")
    print(plot_losses(parser.parse_args().folder))


if __name__ == "__main__":
    main()
