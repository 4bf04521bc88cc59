"""The finished file of one shard, as a source of rows: what it says about itself, its rows, its numbers."""

import errno
import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from genoconv.errors import EnvironmentProblem, InputError
from genoconv.outputs import columns, hdf5
from genoconv.outputs.formats import EMBEDDINGS, ROW_COLUMN, TOKENS, matrix_name, tokens_path
from genoconv.outputs.hdf5 import Array, Column, Dataset, File
from genoconv.outputs.part_files import Key
from genoconv.outputs.patience import signals_waiting
from genoconv.outputs.token_data import checksums
from genoconv.outputs.token_layout import CHECKED_ROWS
from genoconv.outputs.tokens import CHECKS, layout_of
from genoconv.outputs.verification import DAMAGE, one_line

TOKEN_CACHE_BYTES = 8 << 20
"""Many records may lie in one chunk, of 1 MiB at width 256, and are read one after the other."""


class ShardFile:
    """One shard, open for reading; a context manager.

    Args:
        path: The embeddings file; its per-nucleotide file lies beside it, if the run made one.

    Attributes:
        path: As given.
        provenance: What the run said about itself.
        shard: Number (from 1) and count of the shards.
        rows: Which row of the whole each of its rows is, ascending, (k,) int64.
        ids: The id of each row.

    Raises:
        InputError: It is missing, damaged, incomplete, or no shard.
        EnvironmentProblem: Too many files are open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._matrices: dict[Key, Dataset] = {}
        self._open = ExitStack()
        try:
            self._file = self._open.enter_context(hdf5.open_read(path))
            if self._file.attrs.get("genoconv_format") != EMBEDDINGS.name or not self._file.attrs.get("complete"):
                raise self._unusable("it is no complete embeddings file")
            self.provenance: dict[str, Any] = json.loads(self._file["uns/provenance"].asstr()[()])
            shard = self.provenance.get("shard")
            if not shard or ROW_COLUMN not in self._file["obs"]:
                raise self._unusable("it holds a whole run, not a shard of one")
            self.index, self.count = int(shard["index"]), int(shard["count"])
            self.rows: Array = np.asarray(columns.read_column(self._file["obs"][ROW_COLUMN]))
            self.ids = columns.read_checked_texts(self._file["obs/_index"])
            self._tokens = self._open_tokens() if self.provenance["settings"]["tokens"] else None
        except DAMAGE as error:
            self._open.close()
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                raise EnvironmentProblem(
                    "no more files can be opened at once, and every shard is one or two",
                    where=str(path),
                    fix="raise the limit: ulimit -n (here, or where the machine is set up)",
                ) from error
            raise self._unusable(one_line(error)) from error
        except BaseException:
            self._open.close()
            raise

    @property
    def d_model(self) -> int:
        """Width of the model."""
        return int(self.provenance["model"]["config"]["d_model"])

    @property
    def keys(self) -> list[Key]:
        """Poolings and layers, the main ones first."""
        settings = self.provenance["settings"]
        return [(pooling, layer) for pooling in settings["poolings"] for layer in settings["layers_counted_from_0"]]

    def columns(self) -> dict[str, Column]:
        """What is known of each record, but for its row and id."""
        table = self._file["obs"]
        names = [str(name) for name in table.attrs["column-order"]]
        with signals_waiting():
            return {name: columns.read_column(table[name]) for name in names if name != ROW_COLUMN}

    def read_matrix(self, key: Key, start: int, into: Array) -> None:
        """Reads the numbers of k rows from `rows[start]` on, of one pooling and layer, into an array (k, d).

        Raises:
            InputError: The file is damaged there.
        """
        if key not in self._matrices:
            settings = self.provenance["settings"]
            name = matrix_name(*key, poolings=settings["poolings"], layers=settings["layers_counted_from_0"])
            self._matrices[key] = self._file[name]
        self._read(self._matrices[key], start, into)

    def tokens(self, place: int, start: int, stop: int) -> Array:
        """Bases start to stop (0-based, exclusive) of the record of `rows[place]`, (stop - start, d).

        Both are multiples of `CHECKED_ROWS`, or the second is the end of the record.

        Raises:
            InputError: The file is damaged there.
        """
        if self._tokens is None:
            raise ValueError("the run made no per-nucleotide file")
        data = self._tokens["data"]
        found: Array = np.empty((stop - start, data.shape[1]), data.dtype)
        self._read(data, int(self._offsets[place]) + start, found)
        if self._layout is not None:
            first = int(self._layout.checks[place]) + start // CHECKED_ROWS
            expected = self._checks[first : first - (start - stop) // CHECKED_ROWS]
            if not np.array_equal(checksums(found), expected):
                raise self._unusable(f"{data.name} is damaged in record {self.ids[place]}")
        return found

    def close(self) -> None:
        """Close the files; safe to call twice."""
        with signals_waiting():
            self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_tokens(self) -> File:
        file = self._open.enter_context(hdf5.open_read(tokens_path(self.path), cache_bytes=TOKEN_CACHE_BYTES))
        if file.attrs.get("genoconv_format") != TOKENS.name or not file.attrs.get("complete"):
            raise self._unusable("its per-nucleotide file is not complete")
        if hdf5.read_texts(file["id"]) != self.ids:
            raise self._unusable("its per-nucleotide file holds other records")
        self._offsets: Array = file["offsets"][:]
        self._layout = layout_of(file)
        self._checks: Array = np.empty(0) if self._layout is None else file[CHECKS][:]
        return file

    def _read(self, dataset: Dataset, start: int, into: Array) -> None:
        stop = start + len(into)
        try:
            with signals_waiting():  # for h5py does not bear them
                dataset.read_direct(into, np.s_[start:stop])
        except DAMAGE as error:
            raise self._unusable(f"{dataset.name} is damaged in rows {start} to {stop - 1}") from error

    def _unusable(self, why: str) -> InputError:
        return InputError(
            f"a shard cannot be used: {why}",
            where=str(self.path),
            fix="remove it and run this shard again, with the command that made it",
        )
