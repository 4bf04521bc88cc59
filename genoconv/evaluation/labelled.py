"""From a table (TSV, CSV) or FASTA file of sequences to normalised sequences with a label and a group each."""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genoconv.errors import InputError
from genoconv.inputs.fasta import BadRecord, read_fasta
from genoconv.inputs.letters import LetterPolicy, explain_refusal, normalise
from genoconv.inputs.sources import Source

Texts = NDArray[np.str_]

DEFAULT_LABEL = "label"
"""The column; in a FASTA file the first field of the id instead."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table say what; in a FASTA file, the fields of the id between its `|`, counted from 1.

    Attributes:
        label: What is to be told from the sequence.
        sequence: The bases (tables only).
        group: Records with the same value stay on the same side of every split; None: the same sequence.
        block: The group is a position, and records in the same stretch of so many bases stay together; 0: it is not.
        keep: Only records with these labels are taken; none named: all.
    """

    label: str = DEFAULT_LABEL
    sequence: str = "sequence"
    group: str | None = None
    block: int = 0
    keep: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Labelled:
    """Sequences and what is known of them.

    Attributes:
        sequences: n sequences of A C G T N.
        labels: (n,) texts.
        groups: (n,) texts.
    """

    sequences: Sequence[bytes]
    labels: Texts
    groups: Texts

    def __len__(self) -> int:
        return len(self.sequences)


def read_labelled(path: str | Path, columns: Columns) -> Labelled:
    """Read a whole file.

    Args:
        path: A table with a header line, parted by tabs or (`.csv`) commas, or a FASTA file; plain or gzip.
        columns: Where label, sequence and group stand.

    Raises:
        InputError: The file cannot be read, a column or field is missing, a sequence has letters that are none.
    """
    source = Source.of(path)
    with source.open() as stream:
        first = stream.read(1)
    rows = list(_fasta_rows(source, columns) if first == b">" else _table_rows(source, columns))
    rows = [row for row in rows if not columns.keep or row[1] in columns.keep]
    missing = sorted(set(columns.keep) - {label for _, label, _ in rows})
    if missing or not rows:
        raise InputError(f"no record has the label {missing[0]}" if missing else "no records", where=str(path))
    sequences, labels, groups = zip(*rows, strict=True)
    return Labelled(sequences, np.array(labels), np.array(groups))


Row = tuple[bytes, str, str]


def _table_rows(source: Source, columns: Columns) -> Iterator[Row]:
    with source.open() as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        reader = csv.DictReader(text, delimiter="," if ".csv" in source.name.lower() else "\t")
        for name in (columns.label, columns.sequence, columns.group):
            if name is not None and name not in (reader.fieldnames or ()):
                raise InputError(
                    f"the table has no column {name!r}",
                    where=source.name,
                    fix=f"its header line names: {', '.join(reader.fieldnames or ()) or 'nothing'}",
                )
        for row in reader:
            where = f"{source.name}, line {reader.line_num}"
            sequence = (row[columns.sequence] or "").encode()
            piece = normalise(sequence, LetterPolicy())
            if piece.refused >= 0:
                reason, fix = explain_refusal(sequence[piece.refused], LetterPolicy())
                raise InputError(reason, where=f"{where}, position {piece.refused + 1}", fix=fix)
            if not piece.sequence or not row[columns.label]:
                raise InputError("the line has no sequence or no label", where=where, fix="remove it, or complete it")
            yield piece.sequence, row[columns.label], _group(row, columns, where, _digest(piece.sequence))


def _fasta_rows(source: Source, columns: Columns) -> Iterator[Row]:
    for record in read_fasta([source], LetterPolicy()):
        if isinstance(record, BadRecord):
            raise InputError(record.reason, where=record.where, fix=record.fix)
        where = f"{source.name}, line {record.line}, record {record.id!r}"
        fields = {str(place): field for place, field in enumerate(record.id.split("|"), start=1)}
        label = "1" if columns.label == DEFAULT_LABEL else columns.label
        for name in (label, columns.group):
            if name is not None and name not in fields:
                raise InputError(
                    f"the id has no field {name}",
                    where=where,
                    fix="name a field of the ids, as in >family|organism|name, by its number from 1",
                )
        yield record.sequence, fields[label], _group(fields, columns, where, _digest(record.sequence))


def _digest(sequence: bytes) -> str:
    """The group of a record without one: its like, letter for letter."""
    return hashlib.sha256(sequence).hexdigest()


def _group(row: Mapping[str, str], columns: Columns, where: str, own: str) -> str:
    if columns.group is None:
        return own
    if not columns.block:
        return row[columns.group]
    try:
        return str(int(row[columns.group]) // columns.block)
    except ValueError as error:
        raise InputError(
            f"column {columns.group} holds {row[columns.group]!r}, not a position", where=where, fix="leave out block"
        ) from error
