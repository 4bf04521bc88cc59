"""Pooled embeddings, in blocks of rows in any order, into one HDF5 file that is also a valid AnnData file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from genoconv.errors import OutputError
from genoconv.outputs import hdf5
from genoconv.outputs.atomic import AtomicFile
from genoconv.outputs.formats import CHUNK_ROWS, EMBEDDINGS, matrix_name, predicted_bytes, row_width, total_width
from genoconv.outputs.hdf5 import Array, Column
from genoconv.outputs.texts import Texts
from genoconv.outputs.values import check_dtype, to_stored
from genoconv.outputs.verification import verify

# Rows that are collected in memory and written in one call: 1 MB at 256 float32 numbers a row.
BLOCK_ROWS = 16 * CHUNK_ROWS
# What unfinished blocks may hold, all matrices together, before the oldest is written unfinished.
WAITING_BYTES = 256 << 20


class EmbeddingWriter:
    """Writes one embeddings file: rows in any order, then `commit`, which gives the file its final name.

    A context manager; without `commit` nothing is left behind. Writing a row again replaces it.

    Args:
        path: The final name.
        ids: One text per record, in row order; any characters but NUL.
        d_model: Width of the model.
        poolings: The poolings to hold, the main one first.
        layers: The layers to hold, the main one first; counted from 0 (embedding), never negative.
        dtype: "f4" or "f2".
        obs: Further columns, one value per record: numbers, booleans, texts, or `hdf5.Categorical`.
        overwrite: Replace a file of this name, once the new one is complete.

    Raises:
        OutputError: The output exists, is being written, cannot be written, or would not fit on the disk.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        ids: Sequence[str],
        d_model: int,
        poolings: Sequence[str],
        layers: Sequence[int],
        dtype: str = "f4",
        obs: Mapping[str, Column],
        overwrite: bool = False,
    ) -> None:
        _check_layout(poolings, layers)
        check_dtype(dtype)
        self._ids = ids if isinstance(ids, Texts) else list(ids)
        self._obs = dict(obs)
        self._dtype = dtype
        self._d_model = d_model
        needed = predicted_bytes(len(self._ids), total_width(poolings, layers, d_model), dtype=dtype)
        self._place = AtomicFile(path, overwrite=overwrite, needed_bytes=needed)
        self._matrices: dict[tuple[str, int], _Matrix] = {}
        try:
            with self._place.writing():
                self._file = hdf5.create(self._place.create())
                self._lay_out(d_model, list(poolings), list(layers))
                self._structure = hdf5.structure(self._file)
        except BaseException:
            self.discard()
            raise

    def write(self, rows: int | Array, pooling: str, layer: int, values: Array) -> None:
        """Writes k rows of one matrix.

        Args:
            rows: The first row of a contiguous block, or the row of each of the values (k,).
            pooling: One of the poolings of the file.
            layer: One of the layers of the file.
            values: Numbers (k, d).

        Raises:
            OutputError: A number is not finite or too large for float16, or the disk refuses.
        """
        where = np.arange(rows, rows + len(values)) if isinstance(rows, int) else np.asarray(rows, dtype=np.int64)
        stored = to_stored(
            values, self._dtype, name_of=lambda row: self._ids[where[row]], place=f"pooling {pooling}, layer {layer}"
        )
        with self._place.writing():
            self._matrices[pooling, layer].write(where, stored)

    def row(self, pooling: str) -> Array:
        """A row of zeros, as it is stored under a pooling, (d,) or of both strands (2d,)."""
        return np.zeros(row_width(pooling, self._d_model), self._dtype)

    def flush(self) -> None:
        """Sends off what is complete: what is written a little at a time is no long wait at the end.

        Raises:
            OutputError: The disk refuses.
        """
        with self._place.writing():
            self._file.flush()

    def missing(self) -> bool:
        """Whether there is a row that was not written yet, of any matrix."""
        return not all(matrix.written.all() for matrix in self._matrices.values())

    def commit(self, provenance: Mapping[str, Any], *, omit: Sequence[int] = ()) -> None:
        """Completes the file: writes `provenance` as JSON, reads everything back, and gives it its final name.

        Args:
            provenance: What is to be known of the run; anything that JSON can hold.
            omit: Rows that could not be computed: their records are left out of the file.

        Raises:
            OutputError: A row was never written, the disk refuses, or what is read back is not what was written.
        """
        kept = np.ones(len(self._ids), dtype=bool)
        kept[list(omit)] = False
        for (pooling, layer), matrix in self._matrices.items():
            missing = np.flatnonzero(kept & ~matrix.written)
            if missing.size:
                raise OutputError(
                    f"{missing.size} of {len(self._ids)} records were never embedded",
                    where=f"record {self._ids[int(missing[0])]}, pooling {pooling}, layer {layer}",
                )
        with self._place.writing():
            for matrix in self._matrices.values():
                matrix.flush()
            if not kept.all():
                self._drop_rows(kept)
                self._structure = {}
            text = json.dumps(provenance, sort_keys=True, allow_nan=False)
            hdf5.write_text(self._file["uns"], "provenance", text)
            hdf5.seal(self._file, self._structure)
            self._file.close()
        with self._place.syncing():
            findings = verify(self._place.temporary)
        if findings:
            raise OutputError(f"the file on disk is not what was written: {findings[0]}", where=str(self._place.path))
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

    def _lay_out(self, d_model: int, poolings: list[str], layers: list[int]) -> None:
        file = self._file
        hdf5.encode(file, "anndata", "0.1.0")
        hdf5.mark(file, EMBEDDINGS)
        hdf5.write_table(file, "obs", self._ids, self._obs)
        hdf5.write_table(file, "var", [f"d{column}" for column in range(row_width(poolings[0], d_model))], {})
        for name in ("layers", "obsm", "uns"):
            hdf5.write_mapping(file, name)
        waiting_blocks = WAITING_BYTES // (BLOCK_ROWS * 4 * total_width(poolings, layers, d_model))
        for pooling in poolings:
            for layer in layers:
                dataset = hdf5.write_matrix(
                    file,
                    matrix_name(pooling, layer, poolings=poolings, layers=layers),
                    shape=(len(self._ids), row_width(pooling, d_model)),
                    dtype=self._dtype,
                    chunk_rows=CHUNK_ROWS,
                    attributes={"pooling": pooling, "layer": layer},
                )
                self._matrices[pooling, layer] = _Matrix(dataset, waiting_blocks)

    def _drop_rows(self, kept: Array) -> None:
        for matrix in self._matrices.values():
            hdf5.keep_rows(matrix.dataset, kept)
        rows = np.flatnonzero(kept)
        columns = {name: hdf5.take(column, rows) for name, column in self._obs.items()}
        del self._file["obs"]
        hdf5.write_table(self._file, "obs", [self._ids[row] for row in rows.tolist()], columns)


class _Matrix:
    """One dataset, and the blocks of rows that wait until they are full: one call of HDF5 per block, not per row."""

    def __init__(self, dataset: hdf5.Dataset, waiting_blocks: int) -> None:
        self.written = np.zeros(dataset.shape[0], dtype=bool)
        self.dataset = dataset
        self._limit = max(2, waiting_blocks)
        self._blocks: dict[int, tuple[Array, Array]] = {}

    def write(self, rows: Array, values: Array) -> None:
        if values.shape != (len(rows), self.dataset.shape[1]):
            raise ValueError(f"values of shape {values.shape} for {len(rows)} rows of {self.dataset.shape}")
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.written):
            raise ValueError(f"rows {rows.min()} to {rows.max()} of a matrix of {len(self.written)} rows")
        if self._is_whole_blocks(rows):
            self.dataset[rows[0] : rows[-1] + 1] = values
            self.written[rows] = True
            return
        block_of = rows // BLOCK_ROWS
        for block in np.unique(block_of):
            chosen = block_of == block
            self._fill(int(block), rows[chosen] - block * BLOCK_ROWS, values[chosen])
        self.written[rows] = True

    def _is_whole_blocks(self, rows: Array) -> bool:
        """Whether rows are consecutive and fill their blocks, none of which waits: such rows need not wait either."""
        if not len(rows) or rows[0] % BLOCK_ROWS or ((rows[-1] + 1) % BLOCK_ROWS and rows[-1] + 1 != len(self.written)):
            return False
        if self._blocks.keys() & set(range(int(rows[0]) // BLOCK_ROWS, int(rows[-1]) // BLOCK_ROWS + 1)):
            return False
        return len(rows) == rows[-1] - rows[0] + 1 and bool((np.diff(rows) == 1).all())

    def flush(self) -> None:
        for block in list(self._blocks):
            self._release(block)

    def _fill(self, block: int, rows: Array, values: Array) -> None:
        size = min(BLOCK_ROWS, len(self.written) - block * BLOCK_ROWS)
        if block not in self._blocks:
            if len(self._blocks) >= self._limit:
                self._release(next(iter(self._blocks)))
            self._blocks[block] = np.empty((size, values.shape[1]), values.dtype), np.zeros(size, dtype=bool)
        waiting, filled = self._blocks[block]
        waiting[rows] = values
        filled[rows] = True
        if filled.all():
            self._release(block)

    def _release(self, block: int) -> None:
        """Writes the filled rows of a block, run by run."""
        waiting, filled = self._blocks.pop(block)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], filled, [False])).astype(np.int8)))
        first = block * BLOCK_ROWS
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            self.dataset[first + start : first + end] = waiting[start:end]


def _check_layout(poolings: Sequence[str], layers: Sequence[int]) -> None:
    if not poolings or not layers or len(set(poolings)) < len(poolings) or len(set(layers)) < len(layers):
        raise ValueError(f"poolings {poolings} and layers {layers} must each be distinct, and at least one")
    if min(layers) < 0:
        raise ValueError(f"layers {layers} must be counted from 0; resolve negative ones first")
