"""The parts of a job that is done -> its output file, in input order, and complete or an error."""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from genoconv.errors import OutputError
from genoconv.outputs import hdf5
from genoconv.outputs.assembly import RowSource, copy_matrices, copy_rows
from genoconv.outputs.atomic import AtomicFile
from genoconv.outputs.formats import ROW_COLUMN, predicted_bytes, tokens_path, total_width
from genoconv.outputs.hdf5 import Array, Column
from genoconv.outputs.part_files import Key
from genoconv.outputs.parts import Parts
from genoconv.outputs.patience import signals_waiting
from genoconv.outputs.store import WAITING_BYTES, EmbeddingWriter
from genoconv.outputs.texts import Texts
from genoconv.outputs.tokens import complete
from genoconv.runs.job import Job
from genoconv.runs.provenance import provenance, versions

BYTES_PER_SECOND = 1e8
"""Of an output that is assembled, verified and forced to the disk, on a slow day: 64 shards took half the time."""


class Assembly:
    """The output file of a job, which can be begun while the last rows are computed; a context manager.

    A thread writes to it what is there by then, and further rows as they come. Nothing is left behind of a file that
    was begun and not completed.

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
        settings, width = job.settings, job.engine.model.config.d_model
        self._keys: list[Key] = [(pooling, layer) for pooling in settings.poolings for layer in job.engine.layers]
        numbers = total_width(settings.poolings, job.engine.layers, width)
        self._bytes = predicted_bytes(len(job.rows), numbers, dtype=settings.dtype)
        self._begun: Future[EmbeddingWriter] | None = None
        self._taken: list[Future[None]] = []

    @property
    def seconds(self) -> float:
        """How long it takes to complete the file at most, as far as one knows."""
        return math.inf if self._job.settings.tokens else self._bytes / BYTES_PER_SECOND

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
        if self._bytes <= WAITING_BYTES:
            self._parts.refresh()
            for source in self._parts.list():
                self._copy(source)
            self._parts.listen(self._take)

    def complete(self, *, start: float) -> Array:
        """Write the rows of the parts to the file, in input order, and give it its final name.

        Args:
            start: When the job began, by `time.monotonic`.

        Returns:
            The rows of it, ascending.

        Raises:
            OutputError: A row is missing that has not failed; what is on the disk is not what was written; and others.
        """
        job, parts, sources = self._job, self._parts, self._parts.list()
        done = np.zeros(len(job.inputs.ids), dtype=bool)
        for source in sources:
            done[source.rows] = True
        failed = {failure.row for failure in job.failures}
        missing = [row for row in job.rows[~done[job.rows]].tolist() if row not in failed]
        if missing:
            raise OutputError(
                f"{len(missing)} of {len(job.rows)} records were never embedded",
                where=f"record {job.inputs.ids[missing[0]]}",
                fix="Start the same command again.",
            )
        rows = np.flatnonzero(done)
        remarks = {row: remark for source in sources for row, remark in source.remarks.items()}
        job.recomputed = {row: remarks[row] for row in sorted(remarks) if done[row]}
        computed_by = [source.about for source in sources]
        described = provenance(job, seconds=time.monotonic() - start, computed_by=computed_by)
        with self._store(rows) as store:
            if store.missing():
                copy_matrices(sources, rows, self._keys, store)
            if job.settings.tokens:
                path = tokens_path(self._output)
                _complete_tokens(job, parts, rows, described, path, overwrite=self._overwrite)
            store.commit(described)
        return rows

    def _take(self, rows: Array, matrices: Mapping[Key, Array]) -> None:
        """Has rows written that were just computed."""

        def write(store: EmbeddingWriter) -> None:
            places = np.searchsorted(self._expected, rows)
            for (pooling, layer), values in matrices.items():
                store.write(places, pooling, layer, values)
            store.flush()

        self._later(write)

    def _copy(self, source: RowSource) -> None:
        """Has the rows written that a source holds."""
        places = np.searchsorted(self._expected, source.rows)
        self._later(lambda store: copy_rows(source, places, self._keys, store))

    def _later(self, write: Callable[[EmbeddingWriter], None]) -> None:
        """Does something with the file that was begun in the other thread, after all that was asked of it before."""
        assert self._begun is not None
        begun = self._begun
        self._taken.append(self._beside.submit(lambda: write(begun.result())))

    def _store(self, rows: Array) -> EmbeddingWriter:
        """The file that was begun if it is for these rows, else a new one."""
        begun = self._begun if np.array_equal(rows, self._expected) else None
        if begun is not None and not any([begun.exception(), *(later.exception() for later in self._taken)]):
            return begun.result()
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
            for later in self._taken:
                later.cancel()
            self._beside.shutdown()
            self._discard()


def _open_store(job: Job, rows: Array, output: Path, overwrite: bool) -> EmbeddingWriter:
    """The file of pooled rows, with what is known of each record as columns."""
    found, names = job.inputs, job.inputs.sources
    lengths, longest = found.lengths[rows], job.engine.model.config.l_max
    sources = list(dict.fromkeys(names))
    place_of = np.array([sources.index(name) for name in names])
    columns: dict[str, Column] = {
        "length": lengths,
        "start": found.starts[rows],
        "end": found.ends[rows],
        "strand": hdf5.coded((np.frombuffer("".join(found.strands).encode(), np.uint8) == ord("-"))[rows], ("+", "-")),
        "n_fraction": found.n_counts[rows] / np.maximum(lengths, 1),
        "truncated": np.zeros(len(rows), dtype=bool),
        "longer_than_trained": lengths > longest,
        "sha256": Texts.hexadecimal(found.digests[rows]),
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
