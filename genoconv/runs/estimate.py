"""What a run will take, told before it starts: rows, disk, memory, time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from genoconv.inputs.batches import padding_waste
from genoconv.model.spectra import filter_bank
from genoconv.outputs.formats import predicted_bytes, predicted_token_bytes, total_width
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.pooling import SITE
from genoconv.runs.compute import states
from genoconv.runs.job import Engine, Job
from genoconv.runs.memory import Shape

PROBE_BASES = {"cpu": 1 << 13, "cuda": 1 << 18}
"""Bases embedded to measure the speed: enough to fill caches or a GPU, a second at most on two CPU cores."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run is expected to take.

    Attributes:
        rows: Rows of the output.
        bases: Bases to embed.
        longest: Bases of the longest record.
        padding: Share of the computed positions that hold no base, 0 to 1.
        bytes_on_disk: Both output files together; as much again is taken by the parts, until the run ends.
        memory: Peak beside the program and the model's weights, in bytes.
        seconds: Time of the run; the speed was measured on random bases just now.
        bases_per_second: That speed, of one device.
    """

    rows: int
    bases: int
    longest: int
    padding: float
    bytes_on_disk: int
    memory: int
    seconds: float
    bases_per_second: float


def estimate(job: Job) -> Estimate:
    """Predict a run of the job; embeds a few thousand random bases to measure the speed."""
    lengths, config, settings = job.lengths, job.engine.model.config, job.settings
    if not len(lengths):  # a shard of an input with fewer units than shards
        return Estimate(rows=0, bases=0, longest=0, padding=0, bytes_on_disk=0, memory=0, seconds=0, bases_per_second=0)
    plan = [unit for pool in job.pools for unit in pool]
    longest = int(lengths.max())
    padding = padding_waste(job.inputs.lengths, plan)
    on_disk = predicted_bytes(
        len(lengths),
        total_width(settings.poolings, job.engine.layers, config.d_model),
        dtype=settings.dtype,
        id_bytes=sum(map(len, job.ids)) // len(lengths),
    )
    if settings.tokens:
        on_disk += predicted_token_bytes(int(lengths.sum()), len(lengths), config.d_model, dtype=settings.dtype)
    rate = measured_rate(job) / (2 if SITE in settings.poolings else 1)  # both strands
    bases = int(lengths.sum())
    return Estimate(
        rows=len(lengths),
        bases=bases,
        longest=longest,
        padding=padding,
        bytes_on_disk=on_disk,
        memory=expected_memory(job.engine, shapes(job.inputs.lengths, plan, job.engine.batch_bases)),
        seconds=bases / (1 - padding) / rate / len(job.devices),
        bases_per_second=rate,
    )


def shapes(lengths: Array, plan: Sequence[Array], most: int) -> list[Shape]:
    """Shapes of the batches that units are computed in, of at most so many padded bases; each once per stretch."""
    found = list[Shape]()
    for unit in plan:
        rows, longest = len(unit), int(lengths[unit].max())
        while rows > 1 and rows * longest > most:
            rows = (rows + 1) // 2
        if found[-1:] != [(rows, longest)]:
            found.append((rows, longest))
    return found


def expected_memory(engine: Engine, batches: Sequence[Shape]) -> int:
    """Peak of batches, one after the other, beside program and weights, in bytes, with the spectra that are kept."""
    demand, budget = engine.demand, filter_bank(engine.model).budget
    most, spectra, done = 0, 0, set[Shape]()
    for rows, longest in batches:
        own = demand.spectra(rows, longest)
        if own <= budget and (kind := demand.kind(rows, longest)) not in done:
            done.add(kind)
            spectra = min(budget, spectra + own)
        most = max(most, spectra + demand.peak(rows * longest, longest, held=own <= budget))
    return most


def measured_rate(job: Job) -> float:
    """Bases per second of the model on its device, from one short run after a warm-up."""
    engine = job.engine
    bases = min(PROBE_BASES[engine.device.type], engine.batch_bases)
    ids = torch.from_numpy(np.random.default_rng(0).integers(7, 11, (1, bases), np.uint8))
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        for _, hidden in states(engine, ids, set()):
            hidden[0, -1].cpu()  # waits for the device
        seconds = time.perf_counter() - start
    return bases / seconds
