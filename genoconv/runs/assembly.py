"""The parts of a job that is done -> its output file, in input order, and complete or an error."""

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from genoconv.errors import OutputError
from genoconv.outputs import hdf5
from genoconv.outputs.assembly import copy_matrices
from genoconv.outputs.atomic import AtomicFile
from genoconv.outputs.formats import ROW_COLUMN, tokens_path
from genoconv.outputs.hdf5 import Array, Column
from genoconv.outputs.parts import Parts
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.tokens import complete
from genoconv.runs.job import Job
from genoconv.runs.provenance import provenance


def assemble(job: Job, parts: Parts, output: Path, *, overwrite: bool, start: float) -> Array:
    """Write the output from the parts, in input order.

    Returns:
        The rows of it, ascending.

    Raises:
        OutputError: A row is missing that has not failed; what is on the disk is not what was written; and others.
    """
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
    with ExitStack() as files:
        store = files.enter_context(_open_store(job, rows, output, overwrite=overwrite))
        copy_matrices(sources, rows, keys, store)
        if job.settings.tokens:
            _complete_tokens(job, parts, rows, described, tokens_path(output), overwrite=overwrite)
        store.commit(described)
    return rows


def _open_store(job: Job, rows: Array, output: Path, *, overwrite: bool) -> EmbeddingWriter:
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
