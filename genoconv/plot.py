"""A file of embeddings -> two principal components of its rows, coloured by what is known of the records -> a picture.

Needs matplotlib, which `pip install "genoconv[plot]"` brings.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genoconv.errors import EnvironmentProblem, InputError, OutputError
from genoconv.outputs.reading import Embedded, read_embedded

ENDINGS = (".png", ".svg", ".pdf")
MOST_COLOURS = 40
_INCHES = (8.0, 5.0)
_DOTS = 120  # per inch


@dataclass(frozen=True, slots=True)
class Components:
    """Rows along the two directions in which they differ most.

    Attributes:
        places: (n, 2).
        shares: Of the variance, along each of the two, 0 to 1.
    """

    places: NDArray[np.float64]
    shares: tuple[float, float]


def principal_components(rows: NDArray[np.float32]) -> Components:
    """The first two principal components of rows (n, d), each column scaled to deviation 1.

    The sign of a component is free; here the largest of its places is positive.
    """
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    deviation = centred.std(axis=0)
    scaled = centred / np.where(deviation > 1e-6 * max(float(np.abs(rows).max()), 1e-30), deviation, np.inf)
    left, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    places = np.zeros((len(rows), 2))
    count = min(2, len(sizes))
    places[:, :count] = left[:, :count] * sizes[:count]
    places *= np.where(places[np.abs(places).argmax(axis=0), [0, 1]] < 0, -1, 1)
    shares = np.pad(sizes**2 / max(float((sizes**2).sum()), 1e-30), (0, 2))[:2]
    return Components(places, (float(shares[0]), float(shares[1])))


def labels_of(embedded: Embedded, colour: str | None, table: str | Path | None) -> list[str] | None:
    """What the records are coloured by.

    Args:
        embedded: The records.
        colour: A column of the table; without a table a column of the file, or the number of a field of the ids between
            their `|`, from 1. None: the second column of the table, or nothing.
        table: TSV or CSV with a header line and the ids in its first column.

    Raises:
        InputError: There is no such column or field, or an id is not in the table.
    """
    if table is not None:
        known = _read_table(Path(table), colour)
        missing = [name for name in embedded.ids if name not in known]
        if missing:
            raise InputError(f"{len(missing)} ids are not in the table, the first: {missing[0]}", where=str(table))
        return [known[name] for name in embedded.ids]
    if colour is None:
        return None
    if colour in embedded.columns:
        return list(embedded.columns[colour])
    fields = [dict(enumerate(name.split("|"), start=1)) for name in embedded.ids]
    if not colour.isdecimal() or any(int(colour) not in own for own in fields):
        raise InputError(
            f"the records cannot be coloured by {colour!r}",
            fix=f"name a column ({', '.join(embedded.columns)}), the number of a field of all ids, or --labels",
        )
    return [own[int(colour)] for own in fields]


def draw(path: str | Path, output: Path, *, matrix: str = "X", colour: str | None, table: str | Path | None) -> Path:
    """Draw the records of an embeddings file.

    Args:
        path: The file.
        output: The picture; its ending, one of `ENDINGS`, says which kind.
        matrix: Of the file.
        colour: As in `labels_of`.
        table: As in `labels_of`.

    Returns:
        The picture.

    Raises:
        EnvironmentProblem: matplotlib is not installed.
        InputError: As in `labels_of` and `read_embedded`, or there are fewer than two records, or too many labels.
        OutputError: The picture cannot be written there.
    """
    if find_spec("matplotlib") is None:
        raise EnvironmentProblem("a picture needs matplotlib", fix='pip install "genoconv[plot]"')
    if output.suffix.lower() not in ENDINGS:
        raise OutputError(f"a picture ends in {', '.join(ENDINGS)}, not in {output.suffix!r}", where=str(output))
    embedded = read_embedded(path, matrix)
    labels = labels_of(embedded, colour, table)
    if len(embedded.ids) < 2:
        raise InputError("a picture needs at least two records", where=str(path))
    if labels is not None and len(set(labels)) > MOST_COLOURS:
        raise InputError(f"{len(set(labels))} labels are too many to tell apart (at most {MOST_COLOURS})")
    try:
        return _draw(principal_components(embedded.rows), labels, output)
    except OSError as error:
        raise OutputError(f"the picture cannot be written: {error.strerror}", where=str(output)) from error


def _read_table(path: Path, column: str | None) -> dict[str, str]:
    """Id -> label."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file, delimiter="," if path.suffix == ".csv" else "\t")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"the table of labels cannot be read: {error}", where=str(path)) from error
    place = header.index(column) if column in header else -1 if column else 1
    if not 0 < place < len(header):
        raise InputError(
            f"the table has no column {column!r} beside the ids" if column else "the table has one column only",
            where=str(path),
            fix=f"its header line names: {', '.join(header)}",
        )
    return {line[0]: line[place] for line in lines if len(line) > place}


def _draw(components: Components, labels: Sequence[str] | None, output: Path) -> Path:
    """Draw with Agg, which needs no screen, and without a time in the file: the same rows give the same bytes."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    kinds = sorted(set(labels)) if labels is not None else [""]
    palette = colormaps["tab10" if len(kinds) <= 10 else "tab20"]
    marks = "os^v"
    for number, kind in enumerate(kinds):
        chosen = np.array([labels is None or label == kind for label in labels or [""] * len(components.places)])
        axes.scatter(
            components.places[chosen, 0],
            components.places[chosen, 1],
            s=14,
            alpha=0.85,
            linewidths=0,
            label=kind.replace("_", " "),
            color=palette(number % palette.N),
            marker=marks[number // palette.N % len(marks)],
        )
    axes.set_xlabel(f"component 1 ({components.shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"component 2 ({components.shares[1]:.0%})")
    if labels is not None:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    metadata = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    figure.savefig(output, metadata=metadata[output.suffix.lower()])
    return output
