"""Finished shards -> checks that they are one whole -> one file, as a single run would have written it."""

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from genoconv.errors import GenoconvError, InputError
from genoconv.outputs import hdf5
from genoconv.outputs.assembly import copy_matrices, copy_tokens
from genoconv.outputs.atomic import AtomicFile
from genoconv.outputs.columns import join
from genoconv.outputs.formats import ROW_COLUMN, tokens_path
from genoconv.outputs.hdf5 import Array, Column
from genoconv.outputs.parts import parts_path
from genoconv.outputs.patience import signals_waiting
from genoconv.outputs.shard_files import ShardFile
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.texts import Texts
from genoconv.outputs.tokens import TokenWriter
from genoconv.runs.missing import record_ids
from genoconv.runs.provenance import differences
from genoconv.runs.shards import Shard, shard_files, shard_path

NAMED = 10
"""Missing shards and records named in the message."""

MISSING_HEADER = "id\trecord"
"""Of the table of missing records: the id, and which of the good records of the input it is, counted from 1."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What was merged.

    Attributes:
        output: The file of the whole.
        tokens: Its per-nucleotide file, if the shards have one.
        shards: The files of the shards.
        records: Rows.
        size_bytes: Bytes of the shards' files.
        seconds: Time it took.
        failures: Records without a row, each with id, where, reason and row.
    """

    output: Path
    tokens: Path | None
    shards: Sequence[Path]
    records: int
    size_bytes: int
    seconds: float
    failures: list[dict[str, Any]]


def merge(output: Path, paths: Sequence[Path] = (), *, overwrite: bool = False) -> Merged:
    """Join the shards of a run into one file.

    Args:
        output: The file that a run without shards would have written.
        paths: The files of the shards; none: those beside the output, by their names.
        overwrite: Replace an existing output.

    Raises:
        InputError: Shards are missing, damaged, of different runs, or do not make up the whole.
        OutputError: The output is there, or cannot be written.
    """
    start = time.monotonic()
    AtomicFile(output, overwrite=overwrite).discard()
    found = list(paths) or shard_files(output)
    if not found:
        raise InputError(
            "there are no shards to merge",
            where=str(shard_path(output, Shard(1, 2)).parent),
            fix=f"name them, or the output that they belong to: their names are as {shard_path(output, Shard(1, 8))}",
        )
    with ExitStack() as files, all_open_files():
        shards = []
        for path in found:
            with signals_waiting():
                shards.append(files.enter_context(ShardFile(path)))
        check(shards, output)
        rows = np.sort(np.concatenate([shard.rows for shard in shards]))
        described = joined_provenance(shards, seconds=time.monotonic() - start)
        write(shards, rows, described, output, overwrite=overwrite)
    _remove_table(output)
    tokens = tokens_path(output) if described["settings"]["tokens"] else None
    read = [*found, *(map(tokens_path, found) if tokens else ())]
    return Merged(
        output=output,
        tokens=tokens,
        shards=found,
        records=len(rows),
        size_bytes=sum(path.stat().st_size for path in read),
        seconds=time.monotonic() - start,
        failures=described["failures"],
    )


@contextmanager
def all_open_files() -> Iterator[None]:
    """Lets this process open as many files at once as the machine allows: a thousand shards may be two thousand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def check(shards: Sequence[ShardFile], output: Path) -> None:
    """See that the shards are all those of one run, that none overlap, and that nothing is missing.

    Raises:
        InputError: They are not.
    """
    first = shards[0]
    for shard in shards[1:]:
        changed = differences(_without_index(first.provenance), _without_index(shard.provenance))
        if changed:
            raise InputError(
                f"the shards are of different runs: {'; '.join(changed)}",
                where=f"{first.path} and {shard.path}",
                fix="run the shards again with the same input, model and settings",
            )
    numbers = [shard.index for shard in shards]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    if twice:
        raise InputError(f"shard {twice[0]} is there twice", where=", ".join(str(shard.path) for shard in shards))
    missing = sorted(set(range(1, first.count + 1)) - set(numbers))
    if missing:
        raise _incomplete(shards, missing, output)
    _check_rows(shards)


def _incomplete(shards: Sequence[ShardFile], missing: Sequence[int], output: Path) -> InputError:
    """The error that names shards that are missing, and the records in them; all of these are in a table as well."""
    count = shards[0].count
    paths = {number: shard_path(output, Shard(number, count)) for number in missing}
    begun = [number for number, path in paths.items() if parts_path(path).exists()]
    table, records = name_missing_records(shards, output)
    words = [f"{number} ({path.name}{', unfinished' if number in begun else ''})" for number, path in paths.items()]
    return InputError(
        f"{len(missing)} of {count} shards are missing: {_some(words)}; {records}",
        where=f"{output}; all missing records are listed in {table}" if table else str(output),
        fix=f"run them, each with --shard I/{count}, for example --shard {missing[0]}/{count}; unfinished ones go on",
    )


def name_missing_records(shards: Sequence[ShardFile], output: Path) -> tuple[Path | None, str]:
    """Find out which records of the input are in none of some shards.

    Returns:
        A table of them beside the output, if it can be written; and how many they are and who, in words.
    """
    first = shards[0].provenance
    failed = [failure["row"] for failure in _failures(shards) if failure["row"] >= 0]
    held = np.concatenate([*(shard.rows for shard in shards), np.array(failed, dtype=np.int64)])
    try:
        names = record_ids(first, shards[0].path.parent)
    except GenoconvError as error:
        count = first["input"]["records"] - len(_failures(shards)) - sum(len(shard.rows) for shard in shards)
        return None, f"up to {count:,} records are missing; their ids are not known, for {error.what} ({error.where})"
    rows = np.setdiff1d(np.arange(len(names)), held).tolist()
    words = f"{len(rows):,} of {len(names):,} records are missing: {_some([names[row] for row in rows])}"
    lines = [MISSING_HEADER, *(f"{names[row]}\t{row + 1}" for row in rows), ""]
    path = missing_path(output)
    try:
        path.write_text("\n".join(lines), encoding="utf-8", errors="backslashreplace")
    except OSError:
        return None, words
    return path, words


def missing_path(output: Path) -> Path:
    """The table of records that no shard holds, beside an output: genes.h5 -> genes.missing.tsv."""
    return output.with_name(f"{output.stem}.missing.tsv")


def _remove_table(output: Path) -> None:
    """Remove the table of missing records that an earlier try wrote; another file of its name stays."""
    path = missing_path(output)
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8").startswith(f"{MISSING_HEADER}\n"):
            path.unlink()


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - NAMED:,} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more


def joined_provenance(shards: Sequence[ShardFile], *, seconds: float) -> dict[str, Any]:
    """What a single run would have said about itself, and which shards it was made of."""
    in_order = sorted(shards, key=lambda shard: shard.index)
    compute = {str(about): about for shard in in_order for about in shard.provenance["compute"]}
    return dict(in_order[0].provenance) | {
        "shard": None,
        "compute": [compute[key] for key in sorted(compute)],
        "failures": _failures(in_order),
        "recomputed": [one for shard in in_order for one in shard.provenance.get("recomputed", [])],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(sum(shard.provenance["seconds"] for shard in shards), 3),
        "merged": {
            "shards": [
                {"file": shard.path.name} | {key: shard.provenance[key] for key in ("seconds", "finished", "command")}
                for shard in in_order
            ],
            "seconds": round(seconds, 3),
        },
    }


def write(
    shards: Sequence[ShardFile], rows: Array, described: dict[str, Any], output: Path, *, overwrite: bool
) -> None:
    """Write the whole, in input order."""
    order = np.argsort(np.concatenate([shard.rows for shard in shards]), kind="stable")
    # A column of no texts has no type, so shards without rows give columns only if all are such.
    parts = [shard.columns() for shard in shards if len(shard.rows)] or [shards[0].columns()]
    columns: dict[str, Column] = {
        name: hdf5.take(join([part[name] for part in parts]), order) for name in parts[0] if name != ROW_COLUMN
    }
    keys, settings = shards[0].keys, described["settings"]
    names = Texts.joined([shard.ids for shard in shards]).take(order)
    width, dtype = shards[0].d_model, settings["dtype"]
    with ExitStack() as files:
        store = files.enter_context(
            EmbeddingWriter(
                output,
                ids=names,
                d_model=width,
                poolings=settings["poolings"],
                layers=settings["layers_counted_from_0"],
                dtype=dtype,
                obs=columns,
                overwrite=overwrite,
            )
        )
        copy_matrices(shards, rows, keys, store)
        if settings["tokens"]:
            lengths = np.asarray(columns["length"])
            tokens = files.enter_context(
                TokenWriter(
                    tokens_path(output),
                    ids=names,
                    lengths=lengths,
                    d_model=width,
                    layer=keys[0][1],
                    dtype=dtype,
                    overwrite=overwrite,
                )
            )
            copy_tokens(shards, rows, lengths, tokens)
            tokens.commit(described)
        store.commit(described)


def _check_rows(shards: Sequence[ShardFile]) -> None:
    """See that each good record of the input is in exactly one shard, or failed in one."""
    failures = _failures(shards)
    unread = sum(failure["row"] < 0 for failure in failures)
    expected = shards[0].provenance["input"]["records"] - unread
    failed = [failure["row"] for failure in failures if failure["row"] >= 0]
    held = np.concatenate([*(shard.rows for shard in shards), np.array(failed, dtype=np.int64)])
    counts = np.bincount(held, minlength=expected)
    if len(counts) != expected or (counts != 1).any():
        wrong = int(np.flatnonzero(counts != 1)[0]) if (counts != 1).any() else expected
        raise InputError(
            f"the shards do not make up the input of {expected} records: record {wrong + 1} is there "
            f"{int(counts[wrong]) if wrong < len(counts) else 0} times",
            where=", ".join(str(shard.path) for shard in shards[:3]),
            fix="were they computed on different kinds of device? Run them again with the same --batch-bases",
        )


def _failures(shards: Sequence[ShardFile]) -> list[dict[str, Any]]:
    return [failure for shard in shards for failure in shard.provenance["failures"]]


def _without_index(provenance: dict[str, Any]) -> dict[str, Any]:
    return provenance | {"shard": {key: value for key, value in provenance["shard"].items() if key != "index"}}
