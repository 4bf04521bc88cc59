"""Per-nucleotide embeddings, whole records or pieces of them in any order, into one HDF5 file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from genoconv.errors import OutputError
from genoconv.outputs import hdf5
from genoconv.outputs.atomic import AtomicFile
from genoconv.outputs.formats import TOKEN_CHUNK_ROWS, TOKENS, predicted_token_bytes
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.texts import Texts
from genoconv.outputs.values import check_dtype, to_stored


class TokenWriter:
    """Writes one per-nucleotide file: pieces in any order, then `commit`, which gives the file its final name.

    A context manager; without `commit` nothing is left behind. Writing positions again replaces them.

    Args:
        path: The final name, by custom `formats.tokens_path(embeddings)`.
        ids: One text per record, in row order; any characters but NUL.
        lengths: Bases of each record (n,).
        d_model: Numbers per base.
        layer: The layer these hidden states come from; counted from 0 (embedding), never negative.
        dtype: "f4" or "f2".
        overwrite: Replace a file of this name, once the new one is complete.

    Raises:
        OutputError: The output exists, is being written, cannot be written, or would not fit on the disk.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        ids: Sequence[str],
        lengths: Sequence[int] | Array,
        d_model: int,
        layer: int,
        dtype: str = "f4",
        overwrite: bool = False,
    ) -> None:
        check_dtype(dtype)
        self._ids = ids if isinstance(ids, Texts) else list(ids)
        self._lengths = np.asarray(lengths, dtype=np.int64)
        if len(self._lengths) != len(self._ids) or layer < 0:
            raise ValueError(f"{len(self._lengths)} lengths for {len(self._ids)} ids, layer {layer}")
        self._offsets = _offsets(self._lengths)
        self._dtype = dtype
        self._layer = layer
        self._written = _Coverage(self._lengths)
        bases = int(self._offsets[-1])
        needed = predicted_token_bytes(bases, len(self._ids), d_model, dtype=dtype)
        self._place = AtomicFile(path, overwrite=overwrite, needed_bytes=needed)
        try:
            with self._place.writing():
                self._file = hdf5.create(self._place.create())
                self._lay_out(bases, d_model)
        except BaseException:
            self.discard()
            raise

    def write(self, row: int, values: Array, *, start: int = 0) -> None:
        """Writes the hidden states of consecutive bases of one record.

        Args:
            row: The record.
            values: Numbers (k, d).
            start: The 0-based position of the first of them in the record.

        Raises:
            OutputError: A number is not finite or too large for float16, or the disk refuses.
        """
        end = start + len(values)
        if not 0 <= start <= end <= self._lengths[row] or values.shape[1:] != self._data.shape[1:]:
            raise ValueError(f"values of shape {values.shape} at {start} of a record of {self._lengths[row]} bases")
        stored = to_stored(
            values,
            self._dtype,
            name_of=lambda k: f"{self._ids[row]}, base {start + k + 1}",
            place=f"layer {self._layer}",
        )
        first = int(self._offsets[row])
        with self._place.writing():
            self._data[first + start : first + end] = stored
        self._written.add(row, start, end)

    def commit(self, provenance: Mapping[str, Any], *, omit: Sequence[int] = ()) -> None:
        """Completes the file: writes `provenance` as JSON, checks what is on disk, and gives it its final name.

        Args:
            provenance: What is to be known of the run; anything that JSON can hold.
            omit: Records that could not be computed: they are left out of the file.

        Raises:
            OutputError: A base was never written, or the disk refuses.
        """
        kept = np.ones(len(self._ids), dtype=bool)
        kept[list(omit)] = False
        missing = self._written.first_missing(kept)
        if missing is not None:
            row, position = missing
            raise OutputError(
                "a part of a record was never embedded", where=f"record {self._ids[row]}, base {position + 1}"
            )
        with self._place.writing():
            if not kept.all():
                self._drop_records(kept)
            hdf5.write_text(self._file, "provenance", json.dumps(provenance, sort_keys=True, allow_nan=False))
            hdf5.seal(self._file)
            self._file.close()
            with hdf5.open_read(self._place.temporary) as file:
                lost = hdf5.lost_chunks(file["data"])
        if lost:
            raise OutputError(f"{lost} chunks of the file are not on disk", where=str(self._place.path))
        self._place.publish()

    def discard(self) -> None:
        """Closes and removes the temporary file; a committed file stays."""
        with self._place.abandoned():
            hdf5.close_quietly(getattr(self, "_file", None))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def _lay_out(self, bases: int, d_model: int) -> None:
        hdf5.mark(self._file, TOKENS)
        self._write_index(self._ids, self._lengths)
        self._data = hdf5.write_matrix(
            self._file,
            "data",
            shape=(bases, d_model),
            dtype=self._dtype,
            chunk_rows=TOKEN_CHUNK_ROWS,
            attributes={"layer": self._layer},
        )

    def _write_index(self, ids: Sequence[str], lengths: Array) -> None:
        hdf5.write_texts(self._file, "id", ids)
        hdf5.write_numbers(self._file, "offsets", _offsets(lengths))

    def _drop_records(self, kept: Array) -> None:
        hdf5.keep_rows(self._data, np.repeat(kept, self._lengths))
        del self._file["id"], self._file["offsets"]
        self._write_index([self._ids[row] for row in np.flatnonzero(kept).tolist()], self._lengths[kept])


def _offsets(lengths: Array) -> Array:
    """The first row of each record, and the number of all rows (n + 1,)."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


class _Coverage:
    """Which positions of which records are written: the pieces so far of unfinished records, merged."""

    def __init__(self, lengths: Array) -> None:
        self._lengths = lengths
        self._whole = lengths == 0
        self._pieces: dict[int, list[tuple[int, int]]] = {}

    def add(self, row: int, start: int, end: int) -> None:
        if self._whole[row]:
            return
        merged: list[tuple[int, int]] = []
        for piece in sorted([*self._pieces.get(row, ()), (start, end)]):
            if merged and piece[0] <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], piece[1]))
            else:
                merged.append(piece)
        if merged == [(0, int(self._lengths[row]))]:
            self._whole[row] = True
            self._pieces.pop(row, None)
        else:
            self._pieces[row] = merged

    def first_missing(self, kept: Array) -> tuple[int, int] | None:
        """The first record and position (0-based) not written, of the records with `kept` (n,) true, or None."""
        rows = np.flatnonzero(kept & ~self._whole)
        if not rows.size:
            return None
        row = int(rows[0])
        pieces = self._pieces.get(row, [(0, 0)])
        return row, (pieces[0][1] if pieces[0][0] == 0 else 0)
