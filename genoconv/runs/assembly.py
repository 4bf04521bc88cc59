"""The parts of a job that is done -> its output file, in input order, and complete or an error."""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from genoconv.errors import OutputError
from genoconv.outputs import hdf5
from genoconv.outputs.assembly import copy_matrices
from genoconv.outputs.atomic import AtomicFile
from genoconv.outputs.formats import ROW_COLUMN, tokens_path
from genoconv.outputs.hdf5 import Array, Column
from genoconv.outputs.parts import Parts
from genoconv.outputs.patience import signals_waiting
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.tokens import complete
from genoconv.runs.job import Job
from genoconv.runs.provenance import provenance, versions


class Assembly:
    """The output file of a job, which can be begun while the last rows are computed; a context manager.

    Nothing is left behind of a file that was begun and not completed.

    Args:
        job: The job.
        parts: Where its rows are when they are done.
        output: The final name.
        overwrite: Replace a file of this name.
    """

    def __init__(self, job: Job, parts: Parts, output: Path, *, overwrite: bool) -> None:
        self._job, self._parts, self._output, self._overwrite = job, parts, output, overwrite
        self._beside = ThreadPoolExecutor(1, "genoconv-output")
        self._expected = np.empty(0, dtype=np.int64)
        self._begun: Future[EmbeddingWriter] | None = None

    def begin(self) -> None:
        """Lay the file out in another thread, for all rows but those that have failed so far; only the first call does.

        What goes wrong is met again by `complete`.
        """
        if self._begun is not None:
            return
        expected = self._parts.done(len(self._job.inputs.ids))
        expected[self._job.rows] = True
        expected[[failure.row for failure in self._job.failures if failure.row >= 0]] = False
        self._expected = np.flatnonzero(expected)
        self._begun = self._beside.submit(_open_store, self._job, self._expected, self._output, self._overwrite)
        self._beside.submit(versions)  # remembered

    def complete(self, *, start: float) -> Array:
        """Write the rows of the parts to the file, in input order, and give it its final name.

        Args:
            start: When the job began, by `time.monotonic`.

        Returns:
            The rows of it, ascending.

        Raises:
            OutputError: A row is missing that has not failed; what is on the disk is not what was written; and others.
        """
        job, parts = self._job, self._parts
        done = parts.done(len(job.inputs.ids))
        failed = {failure.row for failure in job.failures}
        missing = [row for row in job.rows.tolist() if not done[row] and row not in failed]
        if missing:
            raise OutputError(
                f"{len(missing)} of {len(job.rows)} records were never embedded",
                where=f"record {job.inputs.ids[missing[0]]}",
                fix="Start the same command again.",
            )
        rows, sources = np.flatnonzero(done), parts.list()
        remarks = {row: remark for part in sources for row, remark in part.remarks.items()}
        job.recomputed = {row: remarks[row] for row in rows.tolist() if row in remarks}
        described = provenance(job, seconds=time.monotonic() - start, computed_by=[part.about for part in sources])
        keys = [(pooling, layer) for pooling in job.settings.poolings for layer in job.engine.layers]
        with self._store(rows) as store:
            copy_matrices(sources, rows, keys, store)
            if job.settings.tokens:
                path = tokens_path(self._output)
                _complete_tokens(job, parts, rows, described, path, overwrite=self._overwrite)
            store.commit(described)
        return rows

    def _store(self, rows: Array) -> EmbeddingWriter:
        """The file that was begun if it is for these rows, else a new one."""
        if self._begun is not None and self._begun.exception() is None and np.array_equal(rows, self._expected):
            return self._begun.result()
        self._discard()
        return _open_store(self._job, rows, self._output, self._overwrite)

    def _discard(self) -> None:
        """Removes the file that was begun; safe after it was completed."""
        if self._begun is not None and self._begun.exception() is None:
            self._begun.result().discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with signals_waiting():
            self._beside.shutdown()
            self._discard()


def _open_store(job: Job, rows: Array, output: Path, overwrite: bool) -> EmbeddingWriter:
    """The file of pooled rows, with what is known of each record as columns."""
    found, sha256, names = job.inputs, job.inputs.sha256, job.inputs.sources
    lengths, longest = found.lengths[rows], job.engine.model.config.l_max
    sources = list(dict.fromkeys(names))
    place_of = np.array([sources.index(name) for name in names])
    columns: dict[str, Column] = {
        "length": lengths,
        "start": found.starts[rows],
        "end": found.ends[rows],
        "strand": hdf5.coded((np.array(found.strands) == "-")[rows], ("+", "-")),
        "n_fraction": found.n_counts[rows] / np.maximum(lengths, 1),
        "truncated": np.zeros(len(rows), dtype=bool),
        "longer_than_trained": lengths > longest,
        "sha256": [sha256[row] for row in rows.tolist()],
        "source": hdf5.coded(place_of[found.source_index[rows]], sources),
    }
    if job.shard.count > 1:
        columns[ROW_COLUMN] = rows
    return EmbeddingWriter(
        output,
        ids=[found.ids[row] for row in rows.tolist()],
        d_model=job.engine.model.config.d_model,
        poolings=job.settings.poolings,
        layers=job.engine.layers,
        dtype=job.settings.dtype,
        obs=columns,
        overwrite=overwrite,
    )


def _complete_tokens(
    job: Job, parts: Parts, rows: Array, described: Mapping[str, Any], path: Path, *, overwrite: bool
) -> None:
    """The sibling file with one row per base, whose numbers are where they belong already."""
    place = AtomicFile(path, overwrite=overwrite)
    try:
        data, checks = parts.finished_tokens(rows)
    except BaseException:
        place.discard()
        raise
    with closing(data):
        ids = [job.inputs.ids[row] for row in rows]
        complete(place, data, checks, ids=ids, layer=job.engine.layers[0], provenance=described)
