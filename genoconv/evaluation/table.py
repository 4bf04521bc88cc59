"""Results -> a table for a person, CSV, JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One number.

    Attributes:
        task: The question.
        method: `probe`, `nearest` or `perplexity`.
        features: What was looked at: counts, a model, a model with random weights, a model and counts.
        chosen: Which view and layer the folds chose on their training records; of a perplexity, the label.
        metric: `accuracy` or `perplexity`.
        value: The number.
        error: Its standard error; 0 where there is none.
        classes: Labels to tell apart.
        records: Records judged.
        bases: Their bases, of one strand.
    """

    task: str
    method: str
    features: str
    chosen: str
    metric: str
    value: float
    error: float
    classes: int
    records: int
    bases: int


def to_text(rows: Sequence[Row]) -> str:
    """A block for each task, its rows in the order they were measured."""
    lines: list[str] = []
    for task in dict.fromkeys(row.task for row in rows):
        own = [row for row in rows if row.task == task]
        first, width = own[0], max(len(row.features) for row in own)
        lines += ["", f"{task}: {first.method}, {first.classes} labels, {first.records:,} records"]
        for row in own:
            error = f" +- {row.error:.3f}" if row.error else ""
            lines.append(f"  {row.features:<{width}}  {row.metric} {row.value:.3f}{error}  {row.chosen}".rstrip())
    return "\n".join(lines[1:])


def to_csv(rows: Sequence[Row]) -> str:
    """A header line and a line for each row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_plain(row) for row in rows)
    return text.getvalue()


def to_json(rows: Sequence[Row]) -> str:
    """A list of objects."""
    return json.dumps([_plain(row) for row in rows], indent=1)


def _plain(row: Row) -> dict[str, str | int | float]:
    return asdict(row) | {"value": round(row.value, 4), "error": round(row.error, 4)}
