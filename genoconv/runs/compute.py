"""Batches of records -> hidden states -> pooled rows -> parts, on one device."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from genoconv.errors import EnvironmentProblem, OutputError, UsageError
from genoconv.kernels.fftconv import ConvolutionOverflowError
from genoconv.model import half
from genoconv.model.config import HyenaConfig
from genoconv.model.half import HalfPrecisionOverflowError
from genoconv.model.inference import Precision, hidden_states, layer_indices
from genoconv.model.pretrained import load_model
from genoconv.model.spectra import filter_bank
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.part_files import Key, PartWriter
from genoconv.outputs.pooling import SITE, pool_site
from genoconv.outputs.pooling import pool as pool_states
from genoconv.outputs.token_layout import CHECKED_ROWS
from genoconv.outputs.values import to_stored
from genoconv.runs.devices import free_unused, is_out_of_memory
from genoconv.runs.job import EmbedSettings, Engine, Failure
from genoconv.runs.memory import batch_budget, memory_limit, recordings_budget, spectra_budget
from genoconv.runs.transfers import STORED, Batch, to_host


class Taker(Protocol):
    """Where what has been computed goes; a `PartWriter` as a rule, which says more."""

    def add(self, rows: Array, matrices: Mapping[Key, Array]) -> None:
        """Takes pooled rows."""

    def add_tokens(self, rows: Sequence[int], start: int, states: Callable[[], Array]) -> None:
        """Takes the numbers of consecutive bases of some records."""


@dataclass(slots=True)
class Done:
    """What became of a batch.

    Attributes:
        rows: Rows that were computed.
        bases: Their bases.
        failures: The records that could not be.
    """

    rows: int = 0
    bases: int = 0
    failures: list[Failure] = field(default_factory=list)


def make_engine(settings: EmbedSettings, path: Path, device: torch.device, longest: int) -> Engine:
    """Load a model onto a device, and see how much it can compute at once there.

    Args:
        settings: What is asked for.
        path: Folder or file of the model.
        device: Where to compute.
        longest: Bases of the longest record.

    Raises:
        ModelError: The model cannot be loaded.
        UsageError: A layer that the model does not have, or half precision where it is not possible.
    """
    model = load_model(path, device=device)
    layers = layer_indices(model.config, settings.layers)
    engine = Engine(settings, model, device, "high", layers, memory=0, batch_bases=1)
    prepare_for(engine, longest)
    return engine


def prepare_for(engine: Engine, longest: int, precision: str | None = None) -> None:
    """Decide how to compute, and how much at once, for records of up to `longest` bases and the memory free now.

    Args:
        engine: What is prepared.
        longest: Bases of the longest record.
        precision: How, if others have decided; None: by the settings.

    Raises:
        UsageError: Half precision is asked for, and not possible.
    """
    settings, config = engine.settings, engine.model.config
    engine.precision = choose_precision(precision or settings.precision, config, engine.device, longest)
    engine.memory = memory_limit(engine.device, settings.max_memory)
    engine.batch_bases = settings.batch_bases or batch_budget(engine.demand, longest, engine.memory)
    batch, bank = (engine.demand, engine.batch_bases, longest, engine.memory), filter_bank(engine.model)
    bank.graphs.budget = recordings_budget(*batch)
    bank.budget = spectra_budget(*batch) - bank.graphs.budget


def choose_precision(asked: str, config: HyenaConfig, device: torch.device, longest: int) -> Precision:
    """How to compute: `high` or `half`, as asked; `auto` is half on a GPU, where that is possible.

    Raises:
        UsageError: Half precision is asked for, and not possible.
    """
    if asked == "high":
        return "high"
    why = half.obstacle(config, device, longest)
    if asked == "half" and why:
        raise UsageError(f"--precision half {why}", fix="use --precision high, or auto")
    return "high" if why or (asked == "auto" and device.type != "cuda") else "half"


def work(engine: Engine, batches: Iterable[Batch], parts: PartWriter) -> Generator[Done]:
    """Compute batches, one after the other, and commit what is done from time to time and at the end, however it ends.

    Yields:
        What became of each batch, which is committed by then or will be soon.

    Raises:
        GenoconvError: A record failed under `fail_fast`; the disk refuses; what else stops the run.
    """
    seconds_per_base = 0.0
    try:
        for batch in batches:
            parts.commit_if_due(following=batch.bases * seconds_per_base)
            start = time.monotonic()
            failures = embed_batch(engine, batch, parts)
            seconds_per_base = (time.monotonic() - start) / max(batch.bases, 1)
            if failures and engine.settings.fail_fast:
                raise failed_fast(failures[0])
            failed = {failure.row for failure in failures}
            every = zip(batch.rows.tolist(), batch.lengths, strict=True)
            lengths = [length for row, length in every if row not in failed]
            parts.commit_if_due(following=0)
            yield Done(len(lengths), sum(lengths), failures)
    finally:
        with closing(parts):
            parts.commit()


def embed_batch(engine: Engine, batch: Batch, parts: PartWriter) -> list[Failure]:
    """Embed records together; when memory does not do, in halves, down to one record at a time.

    Returns:
        The records that could not be computed: a single record that does not fit fails, and the rest goes on.
    """
    padded, records = batch.ids.numel(), batch.records
    if padded <= engine.batch_bases or len(records) == 1:
        problem, overflowed = "", set[int]()
        try:
            failures = compute_batch(engine, batch, parts, overflowed)
            for place in sorted(overflowed):
                failures += alone(engine, batch, place, parts)
            return failures
        except ConvolutionOverflowError as error:
            problem = str(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler: its traceback held the tensors that have to go.
        filter_bank(engine.model).graphs.clear()
        free_unused(engine.device)
        if len(records) == 1 and problem:
            return [Failure(records[0].id, f"{len(records[0]):,} bases", problem, int(batch.rows[0]))]
        if len(records) == 1:
            return [no_memory(records[0].id, len(records[0]), int(batch.rows[0]))]
        if not problem:
            engine.batch_bases = max(1, padded // 2)
    first, second = batch.halves()
    return embed_batch(engine, first, parts) + embed_batch(engine, second, parts)


def alone(engine: Engine, batch: Batch, place: int, parts: PartWriter) -> list[Failure]:
    """Embed one record of a batch in which half precision overflowed: by itself, and in float32 if it has to be.

    What becomes of it is thus decided by the record, not by its neighbours, whose overflow may have reached it.
    """
    one = batch.alone(place)
    record, row = one.records[0], int(one.rows[0])
    try:
        return compute_batch(engine, one, parts)
    except HalfPrecisionOverflowError as error:
        where = error.where
    if engine.settings.precision != "auto":
        problem = f"{where} is beyond the range of half precision; use --precision high, or auto"
        return [Failure(record.id, f"{len(record):,} bases", problem, row)]
    parts.remark(row, f"float16 overflow in {where}")
    return embed_batch(replace(engine, precision="high"), one, parts)


def compute_batch(engine: Engine, batch: Batch, parts: Taker, overflowed: set[int] | None = None) -> list[Failure]:
    """Token ids (B, L) -> hidden states (B, L, d), layer by layer -> pooled rows, taken by the parts.

    Args:
        engine: What computes.
        batch: The records.
        parts: Where they go.
        overflowed: Takes the places of records that are left out, as half precision may not hold their numbers.

    Returns:
        Records whose numbers no file can hold.

    Raises:
        HalfPrecisionOverflowError: Half precision does not hold the numbers, and nobody takes the places.
    """
    settings, lengths, pooled = engine.settings, batch.lengths, dict[Key, torch.Tensor]()
    failures: dict[int, Failure] = {}
    downstream = other_strand(engine, batch, overflowed)
    for layer, hidden in states(engine, batch.ids, overflowed):
        for pooling in settings.poolings:
            if pooling == SITE:
                upstream = pool_site(hidden, lengths, settings.site)
                pooled[pooling, layer] = torch.cat([upstream, downstream[layer]], dim=1)
            else:
                pooled[pooling, layer] = pool_states(hidden, lengths, pooling)
        if settings.tokens and layer == engine.layers[0]:
            failures |= add_tokens(engine, batch, hidden, parts, overflowed or set())
    held = [place for place in range(len(lengths)) if not overflowed or place not in overflowed]
    rows, matrices = batch.rows[held], dict[Key, Array]()
    for (pooling, layer), values in on_host(pooled).items():
        matrices[pooling, layer], bad = _stored(values[held], settings.dtype, f"{pooling}, layer {layer}")
        for place, reason in bad:
            row = int(rows[place])
            failures[row] = Failure(batch.records[held[place]].id, f"{pooling}, layer {layer}", reason, row)
    good = np.array([row not in failures for row in rows.tolist()], dtype=bool)
    if good.any():
        parts.add(rows[good], {key: values[good] for key, values in matrices.items()})
    return [failures[row] for row in rows.tolist() if row in failures]


def other_strand(engine: Engine, batch: Batch, overflowed: set[int] | None) -> dict[int, torch.Tensor]:
    """By layer, the states (B, d) of the reverse complements at the site of each record; none if not asked for."""
    if batch.other_strand is None:
        return {}
    return {
        layer: pool_site(hidden, batch.lengths, engine.settings.site, reverse=True)
        for layer, hidden in states(engine, batch.other_strand, overflowed)
    }


def states(engine: Engine, ids: torch.Tensor, overflowed: set[int] | None = None) -> Iterator[tuple[int, torch.Tensor]]:
    """Token ids (B, L) -> hidden states (B, L, d) of the layers asked for, as `hidden_states` gives them."""
    return hidden_states(
        engine.model,
        ids.to(engine.device, non_blocking=True),
        layers=engine.layers,
        filter_length=engine.settings.kept.taps,
        frequencies=engine.settings.kept.frequencies,
        precision=engine.precision,
        overflowed=overflowed,
    )


def on_host(pooled: Mapping[Key, torch.Tensor]) -> dict[Key, Array]:
    """Pooled rows (B, d) of every pooling and layer, brought to the host in one copy."""
    together = torch.cat(list(pooled.values()), dim=1).cpu().numpy()
    ends = np.cumsum([values.shape[1] for values in pooled.values()])
    return dict(zip(pooled, np.split(together, ends[:-1], axis=1), strict=True))


def add_tokens(
    engine: Engine, batch: Batch, hidden: torch.Tensor, parts: Taker, left_out: set[int]
) -> dict[int, Failure]:
    """Hidden states (B, L, d) of every base -> the parts, without those of the records at some places.

    Returns:
        By row, records with numbers that no file can hold.
    """
    dtype, what = engine.settings.dtype, f"layer {engine.layers[0]}"
    rows = [-1 if place in left_out else row for place, row in enumerate(batch.rows.tolist())]
    finite = []
    for piece in to_host(hidden, batch.lengths, dtype):
        parts.add_tokens([rows[place] for place in piece.places], piece.start, piece.numbers)
        finite.append(piece.finite)
    failures = dict[int, Failure]()
    if bool(torch.stack(finite).all()):
        return failures
    for row, record, padded in zip(rows, batch.records, hidden, strict=True):
        base = -1 if row < 0 else first_not_finite(padded[: len(record)], dtype)
        if base >= 0:
            _, reasons = _stored(padded[base : base + 1].cpu().numpy(), dtype, what)
            failures[row] = Failure(record.id, f"base {base + 1}, {what}", reasons[0][1], row)
    return failures


def first_not_finite(states: torch.Tensor, dtype: str) -> int:
    """The first of some bases (L, d) with a number that the stored type cannot hold, or -1."""
    for start in range(0, len(states), CHECKED_ROWS):
        whole = torch.isfinite(states[start : start + CHECKED_ROWS].to(STORED[dtype])).all(dim=1)
        if not bool(whole.all()):
            return start + int(whole.logical_not().nonzero()[0, 0])
    return -1


def no_memory(record_id: str, length: int, row: int) -> Failure:
    """A record that is too long for the memory there is."""
    return Failure(record_id, f"{length:,} bases", "it needs more memory than is free", row)


def no_site(record_id: str, length: int, settings: EmbedSettings, row: int) -> Failure:
    """A record that ends before the site."""
    return Failure(record_id, f"{length:,} bases", f"it has no base {settings.site}, the site asked for", row)


def failed_fast(failure: Failure) -> EnvironmentProblem:
    """The error that the first failure is, when one is too many."""
    return EnvironmentProblem(
        f"a record failed: {failure.reason}",
        where=f"{failure.id}: {failure.where}",
        fix="without --fail-fast the run goes on with the others",
    )


def _stored(values: Array, dtype: str, place: str) -> tuple[Array, list[tuple[int, str]]]:
    """Rows (k, d) in the stored type, and those of them that it cannot hold, with the reasons."""
    try:
        return to_stored(values, dtype, name_of=str, place=place), []
    except OutputError:
        with np.errstate(over="ignore"):
            stored = values.astype(np.dtype(dtype))
    bad = []
    for row in np.flatnonzero(~np.isfinite(stored).all(axis=1)).tolist():
        try:
            to_stored(values[row : row + 1], dtype, name_of=str, place=place)
        except OutputError as error:
            bad.append((row, f"{error.what}. {error.fix}"))
    return stored, bad
