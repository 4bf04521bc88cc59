"""`genoconv evaluate`: labelled sequences in; a table of what embeddings and plain counts tell of them out."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genoconv.cli import options
from genoconv.cli.words import tell
from genoconv.errors import OutputError, UsageError

if TYPE_CHECKING:
    from genoconv.evaluation.tasks import Task


class Method(StrEnum):
    """How a label is told from features."""

    PROBE = "probe"
    NEAREST = "nearest"
    PERPLEXITY = "perplexity"


def evaluate(
    table: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TABLE]", help="TSV or CSV with a header line, or FASTA; plain or gzip.", show_default=False
        ),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="Judge on this file instead of folds of the first.")
    ] = None,
    suite: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Many tasks at once, instead of TABLE.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the suite's files lie. [default: beside it]")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="TASK", help="Tasks of the suite to do; repeatable.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="As for embed; repeatable. [default: genoconv-mini, built in]"),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="Logistic regression, nearest neighbour, or perplexity by label.")
    ] = Method.PROBE,
    label: Annotated[
        str, typer.Option(metavar="NAME", help="Column of the label; of FASTA ids a|b|c the field, from 1.")
    ] = "label",
    sequence: Annotated[str, typer.Option(metavar="NAME", help="Column of the sequence.")] = "sequence",
    group: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column or field; records that share it are never divided.")
    ] = None,
    block: Annotated[
        int, typer.Option(min=0, metavar="BASES", help="The group is a position; stay together within so many bases.")
    ] = 0,
    keep: Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Labels to take; repeatable.")] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(
            metavar="mean|max|site|window|site+mean|strandless|spread",
            help="What of the hidden states is offered; repeatable. [default: mean, strandless, spread]",
        ),
    ] = None,
    site: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Base that site and window are about. [default: the middle]")
    ] = None,
    kmer: Annotated[
        list[int] | None, typer.Option(min=1, max=8, metavar="K", help="Words to count; repeatable. [default: 3, 4]")
    ] = None,
    one_hot: Annotated[
        int, typer.Option(min=0, metavar="BASES", help="Also the bases around the site themselves.")
    ] = 0,
    folds: Annotated[int, typer.Option(min=2, help="Parts, each judged by what was learnt from the others.")] = 5,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the rows to a CSV file as well.")] = None,
    json: options.Json = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Measure what embeddings tell of labelled sequences, beside plain counts and the same model with random weights.

    The embeddings are frozen; a probe learns from some records and is judged on others. Which view and layer of the
    model, and how strong a regularisation, is chosen on the records that are learnt from.
    """
    from genoconv.evaluation import run
    from genoconv.evaluation.labelled import Columns
    from genoconv.evaluation.table import to_csv, to_json, to_text
    from genoconv.evaluation.tasks import DEFAULT_KMERS, DEFAULT_VIEWS, Task, read_suite
    from genoconv.model.names import DEFAULT_MODEL
    from genoconv.runs.devices import choose_device, use_threads

    if (table is None) == (suite is None):
        raise UsageError("either a table or --suite is needed", fix="see: genoconv evaluate --help")
    if csv is not None and not csv.absolute().parent.is_dir():
        raise OutputError("there is no such folder", where=str(csv), fix="make it, or name another --csv")
    use_threads(threads)
    place = choose_device(device)
    if suite is not None:
        tasks = chosen(read_suite(suite, data), only)
    else:
        assert table is not None
        columns = Columns(label=label, sequence=sequence, group=group, block=block, keep=tuple(keep or ()))
        tasks = [
            Task(
                name=table.name.partition(".")[0],
                file=table,
                test=test,
                columns=columns,
                method=method.value,
                views=tuple(view or DEFAULT_VIEWS),
                site=site,
                kmers=tuple(kmer or DEFAULT_KMERS),
                one_hot=one_hot,
                folds=folds,
            )
        ]
    subjects = run.load_subjects(model or [DEFAULT_MODEL], place)
    rows = []
    for row in run.evaluate(tasks, subjects, place, tell=(lambda line: None) if quiet else tell):
        rows.append(row)
        if csv is not None:
            csv.write_text(to_csv(rows), encoding="utf-8")
    print(to_json(rows) if json else to_text(rows))


def chosen(tasks: "list[Task]", only: list[str] | None) -> "list[Task]":
    """The tasks asked for by name, or all."""
    names = [task.name for task in tasks]
    unknown = [name for name in only or () if name not in names]
    if unknown:
        raise UsageError(f"the suite has no task {unknown[0]!r}", fix=f"it has: {', '.join(names)}")
    return [task for task in tasks if not only or task.name in only]
