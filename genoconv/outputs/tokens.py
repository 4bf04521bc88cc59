"""Per-nucleotide embeddings: bare numbers, written straight to their place, and the HDF5 around them at the end."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from genoconv.errors import OutputError
from genoconv.outputs import hdf5
from genoconv.outputs.atomic import AtomicFile, explained
from genoconv.outputs.formats import TOKENS, predicted_token_bytes
from genoconv.outputs.hdf5 import Array, File
from genoconv.outputs.patience import signals_waiting
from genoconv.outputs.texts import Texts
from genoconv.outputs.token_data import TokenData, TokenWrites
from genoconv.outputs.token_layout import CHECKED_ROWS, TokenLayout
from genoconv.outputs.values import check_dtype, to_stored

DATA, CHECKS, ROWS_PER_CHECK = "data", "crc32", "rows"


def token_layout(rows: Array, lengths: Array, d_model: int, dtype: str) -> TokenLayout:
    """Where the records of a per-nucleotide file lie, as HDF5 will have it.

    Args:
        rows: The records, ascending, (n,).
        lengths: Their bases, (n,).
        d_model: Numbers of a base.
        dtype: "f4" or "f2".
    """
    check_dtype(dtype)
    lengths = np.asarray(lengths, dtype=np.int64)
    first = hdf5.first_byte_of(DATA, shape=(int(lengths.sum()), d_model), dtype=dtype)
    return TokenLayout(np.asarray(rows, dtype=np.int64), lengths, d_model, dtype, first)


def complete(
    place: AtomicFile, data: TokenData, checks: Array, *, ids: Sequence[str], layer: int, provenance: Mapping[str, Any]
) -> None:
    """Writes the HDF5 around numbers that are all there, and gives the file its final name.

    Killed meanwhile, it can be done again: the numbers are not touched.

    Args:
        place: The final name.
        data: The numbers.
        checks: Their checksums (m,) uint32, as the layout of `data` divides them.
        ids: One text per record.
        layer: Where they come from.
        provenance: What is to be known of the run; anything that JSON can hold.

    Raises:
        OutputError: The disk refuses.
    """
    layout, file = data.layout, None
    held = range(layout.first_byte, layout.end_byte)
    shape = (int(layout.starts[-1]), layout.width)
    try:
        with place.writing():
            file = hdf5.create_around(place.complete(data.path, held), DATA, shape=shape, dtype=layout.dtype)
            if hdf5.first_byte(file[DATA]) != layout.first_byte:
                raise ValueError(f"the numbers would begin at {hdf5.first_byte(file[DATA])}, not {layout.first_byte}")
            hdf5.encode(file[DATA], "array", "0.2.0")
            file[DATA].attrs["layer"] = layer
            hdf5.mark(file, TOKENS)
            hdf5.write_texts(file, "id", ids)
            hdf5.write_numbers(file, "offsets", layout.starts)
            hdf5.write_numbers(file, CHECKS, checks)
            file[CHECKS].attrs[ROWS_PER_CHECK] = CHECKED_ROWS
            hdf5.write_text(file, "provenance", json.dumps(provenance, sort_keys=True, allow_nan=False))
            hdf5.seal(file, {})
            file.close()
        place.publish()
    except BaseException:
        with place.abandoned():
            hdf5.close_quietly(file)
        raise


def layout_of(file: File) -> TokenLayout | None:
    """Where the records of an open per-nucleotide file lie; None if it is one in chunks (version 1.0)."""
    data, starts = file[DATA], file["offsets"][:]
    if data.chunks is not None:
        return None
    rows = np.arange(len(starts) - 1)
    return TokenLayout(rows, np.diff(starts), data.shape[1], data.dtype.str[-2:], hdf5.first_byte(data))


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
        self._ids = ids if isinstance(ids, Texts) else list(ids)
        if len(lengths) != len(self._ids) or layer < 0:
            raise ValueError(f"{len(lengths)} lengths for {len(self._ids)} ids, layer {layer}")
        self._layer = layer
        self._layout = layout = token_layout(np.arange(len(lengths)), np.asarray(lengths), d_model, dtype)
        needed = predicted_token_bytes(int(layout.starts[-1]), len(self._ids), d_model, dtype=dtype)
        self._place = AtomicFile(path, overwrite=overwrite, needed_bytes=needed)
        try:
            self._written = np.zeros(layout.checks[-1], dtype=bool)
            with explained(self._place.path):
                self._data = TokenData(self._place.temporary, layout, create=True)
            self._writes = TokenWrites(self._data)
        except BaseException:
            self._place.discard()
            raise

    def write(self, row: int, values: Array, *, start: int = 0) -> None:
        """Takes the hidden states of consecutive bases of one record, to be written while the next ones are made.

        Args:
            row: The record.
            values: Numbers (k, d), which must not change from now on.
            start: The 0-based position of the first of them in the record, a multiple of `CHECKED_ROWS`; so is k, or
                they are the last.

        Raises:
            OutputError: A number is not finite or too large for float16, or the disk refuses.
        """
        end, length = start + len(values), int(self._layout.lengths[row])
        whole = start % CHECKED_ROWS == 0 and (end % CHECKED_ROWS == 0 or end == length)
        if not (whole and 0 <= start <= end <= length) or values.shape[1:] != (self._layout.width,):
            raise ValueError(f"values of shape {values.shape} at {start} of a record of {length} bases")
        stored = to_stored(
            values,
            self._layout.dtype,
            name_of=lambda k: f"{self._ids[row]}, base {start + k + 1}",
            place=f"layer {self._layer}",
        )
        with explained(self._place.path), signals_waiting():
            self._writes.put([row], start, lambda: stored[None])
        first = int(self._layout.checks[row]) + start // CHECKED_ROWS
        self._written[first : first - (-len(values) // CHECKED_ROWS)] = True

    def commit(self, provenance: Mapping[str, Any]) -> None:
        """Completes the file: writes `provenance` as JSON, and gives it its final name.

        Args:
            provenance: What is to be known of the run; anything that JSON can hold.

        Raises:
            OutputError: A base was never written, or the disk refuses.
        """
        if not self._written.all():
            missing = int(np.argmin(self._written))
            row = int(np.searchsorted(self._layout.checks, missing, side="right")) - 1
            base = (missing - int(self._layout.checks[row])) * CHECKED_ROWS + 1
            raise OutputError("a part of a record was never embedded", where=f"record {self._ids[row]}, base {base}")
        with explained(self._place.path), signals_waiting():
            self._writes.settle()
        checks = self._writes.checksums(np.flatnonzero(self._layout.lengths).tolist())
        complete(self._place, self._data, checks, ids=self._ids, layer=self._layer, provenance=provenance)

    def discard(self) -> None:
        """Removes the temporary file; a committed file stays."""
        with signals_waiting():
            with suppress(OSError):
                self._writes.close()
            self._place.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()
