"""What is asked of the embeddings: one task from options, or many from a TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from genoconv.errors import InputError, UsageError
from genoconv.evaluation.labelled import Columns
from genoconv.evaluation.states import VIEWS

Method = Literal["probe", "nearest", "perplexity"]

DEFAULT_VIEWS = ("mean", "strandless", "spread")
DEFAULT_KMERS = (3, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One question to labelled sequences.

    Attributes:
        name: For the table.
        file: The sequences.
        test: Sequences to judge on, in a file of their own; None: `file` is split into folds.
        columns: Where the file says what.
        method: `probe`: logistic regression; `nearest`: the label of the nearest neighbour; `perplexity`: of the next
            base, by label.
        views: What of the hidden states is offered; what is taken is chosen on training records alone.
        site: The base that views of a place are about, counted from 1; None: the middle one.
        kmers: Lengths of the words that are counted, a row of the table each; the last one joins the embeddings.
        one_hot: So many bases around the site as indicators, a row of the table; 0: no such row.
        folds: Parts that the records are divided into, each judged by what was learnt from the others.
    """

    name: str
    file: Path
    test: Path | None = None
    columns: Columns = field(default_factory=Columns)
    method: Method = "probe"
    views: tuple[str, ...] = DEFAULT_VIEWS
    site: int | None = None
    kmers: tuple[int, ...] = DEFAULT_KMERS
    one_hot: int = 0
    folds: int = 5

    def __post_init__(self) -> None:
        unknown = [view for view in self.views if view not in VIEWS]
        if self.method not in get_args(Method) or unknown:
            wrong, known = (unknown[0], VIEWS) if unknown else (self.method, get_args(Method))
            raise UsageError(f"task {self.name}: {wrong!r} is none of {', '.join(known)}")
        if self.folds < 2 or not all(1 <= length <= 8 for length in self.kmers) or (self.site or 1) < 1:
            raise UsageError(f"task {self.name}: at least 2 folds, words of 1 to 8 bases, sites from 1")
        if not self.views or not self.kmers:
            raise UsageError(f"task {self.name}: at least one view and one length of words")


def read_suite(path: str | Path, folder: str | Path | None = None) -> list[Task]:
    """Read `[[task]]` tables of a TOML file, with the names of `Task` and of `Columns` as keys.

    Args:
        path: The TOML file.
        folder: Where the files that it names lie; None: beside it.

    Raises:
        InputError: It cannot be read, or holds something else.
        UsageError: A task asks for what there is not.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("task")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the suite cannot be read: {error}", where=str(path)) from error
    if not isinstance(tables, list) or not tables:
        raise InputError("the suite holds no [[task]]", where=str(path))
    return [_task(table, Path(folder or Path(path).parent), str(path)) for table in tables]


def _task(table: Mapping[str, Any], folder: Path, where: str) -> Task:
    own, theirs = ({part.name for part in fields(kind)} for kind in (Task, Columns))
    unknown = sorted(set(table) - (own | theirs) | ({"name", "file"} - set(table)))
    if unknown or "columns" in table:
        name = (unknown or ["columns"])[0]
        told = "is missing" if name in ("name", "file") else "is not known"
        raise InputError(
            f"task {table.get('name', '?')}: key {name} {told}",
            where=where,
            fix=f"the keys are {', '.join(sorted((own | theirs) - {'columns'}))}",
        )
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    values |= {key: folder / values[key] for key in ("file", "test") if key in values}
    values["columns"] = Columns(**{key: values.pop(key) for key in theirs & set(values)})
    try:
        return Task(**values)
    except TypeError as error:
        raise InputError(f"task {values['name']}: a value is of the wrong type: {error}", where=where) from error
