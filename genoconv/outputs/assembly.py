"""Rows that lie scattered over parts or shards -> one file, in order, block by block in bounded memory."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from genoconv.outputs.hdf5 import Array
from genoconv.outputs.part_files import Key
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.token_layout import CHECKED_ROWS
from genoconv.outputs.tokens import TokenWriter

BLOCK_BYTES = 64 << 20
BLOCK_ROWS = 4096
"""Blocks are of whole runs of this many rows (four of the writer's), or one such run where a row is large."""

PIECE_ROWS = 2 * CHECKED_ROWS
"""Bases that are copied at once, of a record that has so many."""


class RowSource(Protocol):
    """Some rows of an output: a part or a shard."""

    @property
    def rows(self) -> Array:
        """Which rows, ascending, (k,) int64."""

    def read_matrix(self, key: Key, start: int, into: Array) -> None:
        """Reads the numbers of k rows from `rows[start]` on into an array (k, d) of the stored type."""


class TokenSource(Protocol):
    """Some records of a per-nucleotide file: a shard."""

    @property
    def rows(self) -> Array:
        """Which rows, ascending, (k,) int64."""

    def tokens(self, place: int, start: int, stop: int) -> Array:
        """Bases start to stop of the record of `rows[place]`, (stop - start, d)."""


def copy_matrices(sources: Sequence[RowSource], rows: Array, keys: Sequence[Key], writer: EmbeddingWriter) -> None:
    """Copies every matrix, in the order of the rows.

    Args:
        sources: Together they hold each of `rows`, and nothing else.
        rows: The rows of the file, ascending, (n,) int64.
        keys: Poolings and layers.
        writer: Row i of it is `rows[i]`.
    """
    places = [np.searchsorted(rows, source.rows) for source in sources]
    for key in keys:
        for first, block in _blocks(sources, places, key, writer.row(key[0]), len(rows)):
            writer.write(first, key[0], key[1], block)  # has taken the block when it returns


def copy_rows(source: RowSource, places: Array, keys: Sequence[Key], writer: EmbeddingWriter) -> None:
    """Copies what one source holds.

    Args:
        source: Some rows.
        places: Which rows of the file they are, (k,).
        keys: Poolings and layers.
        writer: Takes them.
    """
    for pooling, layer in keys:
        like = writer.row(pooling)
        for start in range(0, len(places), BLOCK_ROWS):
            into = places[start : start + BLOCK_ROWS]
            block = np.empty((len(into), *like.shape), like.dtype)
            source.read_matrix((pooling, layer), start, block)
            writer.write(into, pooling, layer, block)


def copy_tokens(sources: Sequence[TokenSource], rows: Array, lengths: Array, writer: TokenWriter) -> None:
    """Copies the numbers of every base, record by record, in pieces of bounded size.

    Args:
        sources: As for `copy_matrices`.
        rows: The records of the file, ascending, (n,) int64.
        lengths: Their bases, (n,).
        writer: Record i of it is `rows[i]`.
    """
    source_of = np.empty(len(rows), dtype=np.int64)
    place_of = np.empty(len(rows), dtype=np.int64)
    for number, source in enumerate(sources):
        places = np.searchsorted(rows, source.rows)
        source_of[places] = number
        place_of[places] = np.arange(len(places))
    for row, length in enumerate(lengths.tolist()):
        source, place = sources[source_of[row]], int(place_of[row])
        for start in range(0, length, PIECE_ROWS):
            writer.write(row, source.tokens(place, start, min(length, start + PIECE_ROWS)), start=start)


def _blocks(
    sources: Sequence[RowSource], places: Sequence[Array], key: Key, like: Array, total: int
) -> Iterator[tuple[int, Array]]:
    """(first row, values) of consecutive blocks of rows like one; each source gives the stretch of its rows in a block.

    All blocks lie in the same memory: new memory for each took as long as reading them.
    """
    size = max(1, BLOCK_BYTES // (like.nbytes * BLOCK_ROWS)) * BLOCK_ROWS
    memory = np.empty((min(size, total), *like.shape), like.dtype)
    stretch = np.empty_like(memory)
    for first in range(0, total, size):
        block = memory[: total - first]
        filled = np.zeros(len(block), dtype=bool)
        for source, where in zip(sources, places, strict=True):
            start, stop = np.searchsorted(where, [first, first + len(block)]).tolist()
            if start < stop:
                source.read_matrix(key, start, stretch[: stop - start])
                block[where[start:stop] - first] = stretch[: stop - start]
                filled[where[start:stop] - first] = True
        if not filled.all():
            raise ValueError(f"no source holds row {first + int(np.argmin(filled))}")
        yield first, block
