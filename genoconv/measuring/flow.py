"""FASTA files -> how fast a whole run embeds them, beside the model alone on the same batches."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from genoconv.embed import prepare, run, units
from genoconv.inputs.batches import padding_waste
from genoconv.inputs.fasta import Records
from genoconv.inputs.scan import scan
from genoconv.inputs.tokens import encode_batch
from genoconv.measuring.cost import Peak, alone
from genoconv.measuring.model import random_model
from genoconv.model.inference import Precision, hidden_states
from genoconv.model.pretrained import save_checkpoint
from genoconv.model.spectra import filter_bank
from genoconv.runs.devices import bound_heaps, choose_device, usable_cores
from genoconv.runs.estimate import estimate
from genoconv.runs.job import EmbedSettings, Engine, Job

TOGETHER = 64
"""Batches that the model is given one behind the other."""


@dataclass(frozen=True, slots=True)
class FlowCase:
    """FASTA files, and how to embed them; `random`: with random weights, not the model of the settings."""

    inputs: tuple[str, ...]
    settings: EmbedSettings
    random: bool


@dataclass(frozen=True, slots=True)
class FlowRow:
    """A run from FASTA to HDF5, mean-pooled, beside its model alone; memory in GiB.

    Attributes:
        padding: Share of the computed positions that hold no base.
        read_s: Seconds in which the input is read and checked, before anything is computed.
        run_s: Seconds of the run after that, to the finished file; the model is loaded.
        bases_per_s: Of both together.
        model_bases_per_s: Of the model alone on the same batches, one behind the other; they are on the device already.
        share_of_model: The first over the second.
        memory_gib: Peak beside program and weights, spectra included; `predicted_gib` is what --dry-run tells.
    """

    records: int
    bases: int
    longest: int
    precision: Precision
    threads: int
    padding: float
    read_s: float
    run_s: float
    bases_per_s: float
    model_bases_per_s: float
    share_of_model: float
    memory_gib: float
    predicted_gib: float


def measure_flow(inputs: Sequence[str], settings: EmbedSettings, *, model: str | None) -> FlowRow:
    """Embeds FASTA files into a temporary folder.

    Args:
        inputs: FASTA files.
        settings: As for a run on one device.
        model: As in the settings; None: random weights of the shape of hyenadna-large-1m.

    Raises:
        GenoconvError: Whatever ends a run.
    """
    case = FlowCase(tuple(inputs), replace(settings, model=model or settings.model), random=model is None)
    return alone(_measure, case, choose_device(settings.device))


def _measure(case: FlowCase) -> FlowRow:
    with tempfile.TemporaryDirectory(prefix="genoconv-bench-") as folder:
        settings = case.settings
        if case.random:
            save_checkpoint(random_model(), Path(folder) / "model")
            settings = replace(settings, model=f"{folder}/model")
        job = prepare(case.inputs, settings)
        bound_heaps(job.engine.device, int(job.lengths.max(initial=1)))
        filter_bank(job.engine.model).graphs.budget = 0  # in one run, shapes do not come as often as here
        peak = Peak(job.engine.device)
        model_alone(job)  # the first pass loads what is loaded at first use, and makes the filters
        memory = peak.added()  # from now on the spectra of all lengths are there from the start
        start = time.perf_counter()
        job.inputs = scan(case.inputs, settings.letters, duplicates=settings.duplicates)  # what it puts off, as well
        read = time.perf_counter() - start
        start = time.perf_counter()
        summary = run(job, Path(folder) / "embeddings.h5")
        ran = time.perf_counter() - start
        memory = memory if job.engine.device.type == "cuda" else peak.added()
        alone_s = min(model_alone(job) for _ in range(2))
        rate, model_rate = summary.bases / (read + ran), summary.bases / alone_s
        return FlowRow(
            records=summary.records,
            bases=summary.bases,
            longest=int(job.lengths.max()),
            precision=job.engine.precision,
            threads=settings.threads or usable_cores(),
            padding=padding_waste(job.inputs.lengths, [unit for pool in job.pools for unit in pool]),
            read_s=read,
            run_s=ran,
            bases_per_s=rate,
            model_bases_per_s=model_rate,
            share_of_model=rate / model_rate,
            memory_gib=memory / 2**30,
            predicted_gib=estimate(job).memory / 2**30,
        )


def batches(job: Job) -> Iterator[Records]:
    """The records of a job as they are computed together."""
    wanted = np.ones(len(job.inputs.ids), dtype=bool)
    for _, records in units(job, wanted):
        yield from _fitting(records, job.engine.batch_bases)


def _fitting(records: Records, bases: int) -> Iterator[Records]:
    """Halves, until they hold no more padded bases than are computed at once."""
    if len(records) == 1 or len(records) * max(map(len, records.sequences)) <= bases:
        yield records
        return
    half = (len(records) + 1) // 2
    yield from _fitting(records[:half], bases)
    yield from _fitting(records[half:], bases)


def model_alone(job: Job) -> float:
    """Seconds in which the model computes the final states of all batches, without a wait between them.

    Their token ids are on the device before, those of `TOGETHER` batches at a time.
    """
    engine, coming, seconds = job.engine, batches(job), 0.0
    while some := list(islice(coming, TOGETHER)):
        encoded = [encode_batch(records.sequences) for records in some]
        waiting = [torch.from_numpy(ids).to(engine.device) for ids in encoded]
        start = time.perf_counter()
        for ids in waiting:
            last = _last_state(engine, ids)
        last.cpu()  # waits for the device
        seconds += time.perf_counter() - start
    return seconds


def _last_state(engine: Engine, ids: torch.Tensor) -> torch.Tensor:
    """Token ids (B, L) -> the final state of the last position of the first row, (d,): all others are let go."""
    ((_, hidden),) = hidden_states(engine.model, ids, precision=engine.precision, unchecked=[])
    return hidden[0, -1].clone()
