"""The whole flow on one page: FASTA records -> batches -> hidden states -> pooled rows -> one HDF5 file."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from genoconv.errors import InputError
from genoconv.inputs.batches import plan_batches, pool
from genoconv.inputs.fasta import Record
from genoconv.inputs.places import Region, parse_region, read_regions
from genoconv.inputs.scan import scan
from genoconv.inputs.tokens import encode, pad_batch
from genoconv.model.inference import hidden_states, layer_indices
from genoconv.model.names import resolve
from genoconv.model.pretrained import load_model
from genoconv.outputs.atomic import AtomicFile
from genoconv.outputs.formats import tokens_path
from genoconv.outputs.hdf5 import Categorical
from genoconv.outputs.pooling import pool as pool_states
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.tokens import TokenWriter
from genoconv.runs.devices import choose_device, free_unused, is_out_of_memory, use_threads
from genoconv.runs.job import EmbedSettings, Failure, Job, Summary
from genoconv.runs.memory import batch_budget, fits
from genoconv.runs.provenance import provenance

LOOKAHEAD_BASES = 1 << 26
"""Records read ahead, from which batches of like length are made: 64 MB of sequence in memory."""


def prepare(inputs: Sequence[str | Path], settings: EmbedSettings, *, tell: Callable[[str], None] | None = None) -> Job:
    """Read and check the whole input once, load the model, and size the batches.

    Args:
        inputs: FASTA files, plain or compressed; "-" is standard input.
        settings: What is asked for.
        tell: Told what takes long before the work proper: a model that is being downloaded. None: say nothing.

    Raises:
        InputError: The input is not FASTA, is damaged, repeats ids, or holds nothing to embed.
        ModelError: The model cannot be found or loaded.
        UsageError: Settings that do not fit the model.
        EnvironmentProblem: The device is not there.
    """
    use_threads(settings.threads)
    device = choose_device(settings.device)
    source = resolve(settings.model, report=tell, progress=tell is not None)
    found = scan(inputs, settings.letters, duplicates=settings.duplicates, regions=wanted_regions(settings))
    model = load_model(source.path, device=device)
    layers = layer_indices(model.config, settings.layers)
    possible = fits(found.lengths, model.config, device, settings.filter_length)
    failures = [Failure(bad.id, bad.where, bad.reason) for bad in found.failures]
    failures += [_no_memory(found.ids[row], int(found.lengths[row])) for row in np.flatnonzero(~possible)]
    if not possible.any():
        first = f"; the first: {failures[0].where}: {failures[0].reason}" if failures else ""
        raise InputError(f"no record of the input can be embedded ({len(failures)} failed{first})")
    longest = int(found.lengths[possible].max())
    budget = settings.batch_bases or batch_budget(model.config, device, settings.filter_length, longest)
    return Job(settings, found, np.flatnonzero(possible), failures, source, model, device, layers, budget)


def wanted_regions(settings: EmbedSettings) -> list[Region] | None:
    """The stretches asked for, or None for whole records."""
    if not settings.regions and not settings.region_files:
        return None
    wanted = [parse_region(text) for text in settings.regions]
    for path in settings.region_files:
        wanted += read_regions(path, feature=settings.feature, chr_prefix=settings.chr_prefix)
    return wanted


def check_outputs(output: Path, settings: EmbedSettings, *, overwrite: bool) -> None:
    """Find out at once, before the input is read, that the output cannot be written or is there already.

    Raises:
        OutputError: As said.
    """
    for path in (output, tokens_path(output)) if settings.tokens else (output,):
        AtomicFile(path, overwrite=overwrite).discard()


def run(
    job: Job, output: Path, *, overwrite: bool = False, advance: Callable[[int], None] = lambda bases: None
) -> Summary:
    """Embed every record of the job and write the file.

    Args:
        job: From `prepare`.
        output: The HDF5 file; it appears under this name only when it is complete.
        overwrite: Replace an existing output.
        advance: Told the number of bases just done.

    Returns:
        What was done; records that failed are named there and in the file's provenance.

    Raises:
        OutputError: The output exists, or cannot be written.
        InputError: The input changed since it was checked.
    """
    start = time.monotonic()
    failed: list[int] = []
    with ExitStack() as files:
        store = files.enter_context(_open_store(job, output, overwrite=overwrite))
        tokens = files.enter_context(_open_tokens(job, output, overwrite=overwrite)) if job.settings.tokens else None
        for rows, records in batches(job):
            failed += embed_batch(job, rows, records, store, tokens)
            advance(sum(len(record) for record in records))
        described = provenance(job, seconds=time.monotonic() - start)
        if tokens is not None:
            tokens.commit(described, omit=failed)
        store.commit(described, omit=failed)
    done = np.delete(job.lengths, failed)
    return Summary(
        output=output,
        tokens=tokens_path(output) if tokens is not None else None,
        records=len(done),
        bases=int(done.sum()),
        seconds=time.monotonic() - start,
        failures=job.failures,
        replaced=job.inputs.replaced,
    )


def batches(job: Job) -> Iterator[tuple[np.ndarray, list[Record]]]:
    """The records of the job in batches of like length: rows (k,) and the k records."""
    kept = set(job.rows.tolist())
    records = (record for place, record in enumerate(job.inputs.records()) if place in kept)
    first_row = 0
    for group in pool(records, LOOKAHEAD_BASES):
        for places in plan_batches([len(record) for record in group], job.batch_bases):
            yield first_row + places, [group[place] for place in places]
        first_row += len(group)


def embed_batch(
    job: Job, rows: np.ndarray, records: Sequence[Record], store: EmbeddingWriter, tokens: TokenWriter | None
) -> list[int]:
    """Embed records together and write their rows; when memory runs out, in halves, down to one record at a time.

    Returns:
        The rows that could not be computed: a single record that does not fit fails, and the rest goes on.
    """
    padded = len(records) * max(len(record) for record in records)
    if padded <= job.batch_bases or len(records) == 1:
        try:
            compute_batch(job, rows, records, store, tokens)
            return []
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler: its traceback held the tensors that have to go.
        free_unused(job.device)
        if len(records) == 1:
            job.failures.append(_no_memory(records[0].id, len(records[0])))
            return [int(rows[0])]
        job.batch_bases = max(1, padded // 2)
    half = (len(records) + 1) // 2
    first = embed_batch(job, rows[:half], records[:half], store, tokens)
    return first + embed_batch(job, rows[half:], records[half:], store, tokens)


def compute_batch(
    job: Job, rows: np.ndarray, records: Sequence[Record], store: EmbeddingWriter, tokens: TokenWriter | None
) -> None:
    """Records -> token ids (B, L) -> hidden states (B, L, d), layer by layer -> pooled rows, written."""
    ids, lengths = pad_batch([encode(record.sequence) for record in records])
    states = hidden_states(
        job.model, torch.from_numpy(ids).to(job.device), layers=job.layers, filter_length=job.settings.filter_length
    )
    for layer, hidden in states:
        for pooling in job.settings.poolings:
            store.write(rows, pooling, layer, pool_states(hidden, lengths.tolist(), pooling).cpu().numpy())
        if tokens is not None and layer == job.layers[0]:
            for row, length, states_of_record in zip(rows.tolist(), lengths.tolist(), hidden, strict=True):
                tokens.write(row, states_of_record[:length].cpu().numpy())


def _open_store(job: Job, output: Path, *, overwrite: bool) -> EmbeddingWriter:
    """The file of pooled rows, with what is known of each record as columns."""
    found, rows = job.inputs, job.rows
    sha256 = found.sha256
    columns = {
        "length": job.lengths,
        "start": found.starts[rows],
        "end": found.ends[rows],
        "strand": Categorical([found.strands[row] for row in rows], categories=("+", "-")),
        "n_fraction": found.n_counts[rows] / np.maximum(job.lengths, 1),
        "truncated": np.zeros(len(rows), dtype=bool),
        "longer_than_trained": job.lengths > job.model.config.l_max,
        "sha256": [sha256[row] for row in rows],
        "source": [found.sources[index] for index in found.source_index[rows]],
    }
    return EmbeddingWriter(
        output,
        ids=job.ids,
        d_model=job.model.config.d_model,
        poolings=job.settings.poolings,
        layers=job.layers,
        dtype=job.settings.dtype,
        obs=columns,
        overwrite=overwrite,
    )


def _open_tokens(job: Job, output: Path, *, overwrite: bool) -> TokenWriter:
    """The sibling file with one row per base."""
    return TokenWriter(
        tokens_path(output),
        ids=job.ids,
        lengths=job.lengths,
        d_model=job.model.config.d_model,
        layer=job.layers[0],
        dtype=job.settings.dtype,
        overwrite=overwrite,
    )


def _no_memory(record_id: str, length: int) -> Failure:
    """A record that is too long for the memory there is."""
    return Failure(record_id, f"{length:,} bases", "it needs more memory than is free")
