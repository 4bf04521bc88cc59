"""Batches of records -> hidden states -> pooled rows -> parts, on one device."""

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch

from genoconv.errors import EnvironmentProblem, OutputError
from genoconv.kernels.fftconv import ConvolutionOverflowError
from genoconv.model.half import HalfPrecisionOverflowError
from genoconv.model.inference import hidden_states
from genoconv.model.spectra import filter_bank
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.part_files import Key, PartWriter
from genoconv.outputs.pooling import SITE, pool_site
from genoconv.outputs.pooling import pool as pool_states
from genoconv.outputs.token_layout import CHECKED_ROWS
from genoconv.outputs.values import to_stored
from genoconv.runs.devices import free_unused, is_out_of_memory
from genoconv.runs.job import EmbedSettings, Engine, Failure
from genoconv.runs.launches import in_turn
from genoconv.runs.transfers import STORED, Arriving, Batch, send, to_host

AHEAD, AHEAD_BASES = 16, 1 << 22
"""Batches, or padded bases of them, that a GPU is given beside the batch it computes: half a second's work.

Of small batches, launching takes longer than computing; the large ones before them give the time for it. 407 human
genes in 27 batches took 550, 479, 465, 445 and 427 ms with 0, 1, 2, 4 and 8 batches ahead (one NVIDIA H200)."""


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


@dataclass(frozen=True, slots=True)
class Launched:
    """The pooled rows (B, d) of a batch on their way to the host, of some poolings and layers; then what overflowed."""

    keys: Sequence[Key]
    arriving: Arriving

    def rows(self) -> dict[Key, Array] | None:
        """Waits for them; None if half precision does not hold the numbers."""
        arrived = self.arriving.wait()
        unchecked = arrived[len(self.keys) :]
        return None if any(bad.any() for bad in unchecked) else dict(zip(self.keys, arrived, strict=False))


def work(engine: Engine, batches: Iterable[Batch], parts: PartWriter, *, ahead: int = 0) -> Generator[Done]:
    """Compute batches, one after the other, and commit what is done from time to time.

    Args:
        engine: What computes.
        batches: What is computed.
        parts: Where the rows go; those of the last batches wait there to be committed.
        ahead: Batches that a GPU may be given before it has done one.

    Yields:
        What became of each batch, which is committed by then or waits to be.

    Raises:
        GenoconvError: A record failed under `fail_fast`; the disk refuses; what else stops the run.
    """
    seconds_per_base = 0.0
    ahead = ahead if ahead and runs_ahead(engine) else 0

    def enough(under_way: Sequence[Batch]) -> bool:
        return len(under_way) > ahead or sum(batch.ids.numel() for batch in under_way[1:]) >= AHEAD_BASES

    for batch, launched in in_turn(batches, partial(launch, engine) if ahead else _nothing, enough):
        parts.commit_if_due(following=batch.bases * seconds_per_base)
        start = time.monotonic()
        failures = finish(engine, batch, launched, parts)
        seconds_per_base = (time.monotonic() - start) / max(batch.bases, 1)
        if failures and engine.settings.fail_fast:
            raise failed_fast(failures[0])
        failed = np.isin(batch.rows, [failure.row for failure in failures])
        bases = batch.bases - sum(np.compress(failed, batch.lengths).tolist())
        parts.commit_if_due(following=0)
        yield Done(len(failed) - int(failed.sum()), bases, failures)


def runs_ahead(engine: Engine) -> bool:
    """Whether batches can be launched before the results of those before are there: by the kernels, for pooled rows."""
    return engine.device.type == "cuda" and engine.demand.by_kernels and not engine.settings.tokens


def launch(engine: Engine, batch: Batch) -> Launched | None:
    """Have a GPU compute a batch, and send off its pooled rows; waits for nothing.

    A stream keeps the order of batches: one that is launched takes no memory that those before it still need.

    Returns:
        What is on its way; None for a batch that has to be computed in its turn: it is too large, memory does not do,
        or whatever else went wrong, which is then met once more.
    """
    if batch.ids.numel() > engine.batch_bases and len(batch.records) > 1:
        return None
    unchecked = list[torch.Tensor]()
    try:
        pooled = pooled_rows(engine, batch, unchecked=unchecked)
        return Launched(tuple(pooled), send(*pooled.values(), *unchecked))
    except (RuntimeError, MemoryError, ArithmeticError):
        return None


def _nothing(batch: Batch) -> None:
    """Launches nothing."""


def finish(engine: Engine, batch: Batch, launched: Launched | None, parts: PartWriter) -> list[Failure]:
    """Wait for a batch and hand its rows to the parts; embed it now if it was not launched, or overflowed.

    Returns:
        The records that could not be computed.
    """
    rows = None if launched is None else launched.rows()
    return embed_batch(engine, batch, parts) if rows is None else hand_over(engine, batch, rows, parts)


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
    failures = dict[int, Failure]()

    def take_bases(hidden: torch.Tensor) -> None:
        failures.update(add_tokens(engine, batch, hidden, parts, overflowed or set()))

    pooled = pooled_rows(engine, batch, overflowed, first=take_bases if engine.settings.tokens else None)
    return hand_over(engine, batch, on_host(pooled), parts, left_out=overflowed or set(), failures=failures)


def pooled_rows(
    engine: Engine,
    batch: Batch,
    overflowed: set[int] | None = None,
    *,
    unchecked: list[torch.Tensor] | None = None,
    first: Callable[[torch.Tensor], None] | None = None,
) -> dict[Key, torch.Tensor]:
    """Token ids (B, L) -> hidden states (B, L, d), layer by layer -> pooled rows (B, d), on the device.

    Args:
        engine: What computes.
        batch: The records.
        overflowed: As for `compute_batch`.
        unchecked: As for `hidden_states`: then nothing here waits for a GPU.
        first: Told the states of the first layer asked for.
    """
    settings, lengths, pooled = engine.settings, batch.lengths, dict[Key, torch.Tensor]()
    downstream = other_strand(engine, batch, overflowed, unchecked)
    for layer, hidden in states(engine, batch.ids, overflowed, unchecked):
        for pooling in settings.poolings:
            if pooling == SITE:
                upstream = pool_site(hidden, lengths, settings.site)
                pooled[pooling, layer] = torch.cat([upstream, downstream[layer]], dim=1)
            else:
                pooled[pooling, layer] = pool_states(hidden, lengths, pooling)
        if first is not None and layer == engine.layers[0]:
            first(hidden)
    return pooled


def hand_over(
    engine: Engine,
    batch: Batch,
    pooled: Mapping[Key, Array],
    parts: Taker,
    *,
    left_out: Collection[int] = (),
    failures: Mapping[int, Failure] | None = None,
) -> list[Failure]:
    """Pooled rows (B, d) -> the parts, in the stored type.

    Args:
        engine: What computed them.
        batch: The records.
        pooled: Their rows, of every pooling and layer.
        parts: Where they go.
        left_out: Places of records that have no rows.
        failures: By row, records that failed before.

    Returns:
        All records that failed.
    """
    failures, matrices = dict(failures or {}), dict[Key, Array]()
    held = np.delete(np.arange(len(batch.rows)), list(left_out))
    rows = batch.rows[held]
    for (pooling, layer), values in pooled.items():
        # A copy, for what comes from a GPU lies in pinned memory, which is to be used again.
        matrices[pooling, layer], bad = _stored(values[held], engine.settings.dtype, f"{pooling}, layer {layer}")
        for place, reason in bad:
            row = int(rows[place])
            failures[row] = Failure(batch.records[int(held[place])].id, f"{pooling}, layer {layer}", reason, row)
    failed = [failures[row] for row in rows.tolist() if row in failures] if failures else []
    if failed:
        good = np.isin(rows, [failure.row for failure in failed], invert=True)
        rows, matrices = rows[good], {key: values[good] for key, values in matrices.items()}
    if len(rows):
        parts.add(rows, matrices)
    return failed


def other_strand(
    engine: Engine, batch: Batch, overflowed: set[int] | None, unchecked: list[torch.Tensor] | None
) -> dict[int, torch.Tensor]:
    """By layer, the states (B, d) of the reverse complements at the site of each record; none if not asked for."""
    if batch.other_strand is None:
        return {}
    return {
        layer: pool_site(hidden, batch.lengths, engine.settings.site, reverse=True)
        for layer, hidden in states(engine, batch.other_strand, overflowed, unchecked)
    }


def states(
    engine: Engine,
    ids: torch.Tensor,
    overflowed: set[int] | None = None,
    unchecked: list[torch.Tensor] | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Token ids (B, L) -> hidden states (B, L, d) of the layers asked for, as `hidden_states` gives them."""
    return hidden_states(
        engine.model,
        ids.to(engine.device, non_blocking=True),
        layers=engine.layers,
        filter_length=engine.settings.kept.taps,
        frequencies=engine.settings.kept.frequencies,
        precision=engine.precision,
        overflowed=overflowed,
        unchecked=unchecked,
    )


def on_host(pooled: Mapping[Key, torch.Tensor]) -> dict[Key, Array]:
    """Pooled rows (B, d) of every pooling and layer, when they are there."""
    return dict(zip(pooled, send(*pooled.values()).wait(), strict=True))


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
