"""How much memory a run takes, and how large a batch may therefore be."""

from dataclasses import dataclass

import numpy as np
import torch

from genoconv.model import graphs, half, inference
from genoconv.model.config import HyenaConfig
from genoconv.model.inference import Precision
from genoconv.model.spectra import CACHE_BYTES, Kept, batch_class, round_length, spectra_bytes
from genoconv.runs.devices import free_memory

SHARE = 0.8
"""Part of the free memory that a run plans with: other processes and the allocator's waste need the rest."""

LARGEST_BATCH = {"cpu": 1 << 16, "cuda": 1 << 20}
"""Padded bases beyond which a batch gains no speed: the CPU works in chunks of a few thousand positions anyway, and a
GPU is full."""

SMALLEST_UNIT, MANY_UNITS = {"cpu": 1 << 12, "cuda": 1 << 18}, 64
"""A small input is divided into so many units, for shards and devices to share, but into none smaller than this: of a
quarter of that a GPU is not full, and waits for the host between units."""


SLACK = {"cpu": 0, "cuda": 1 << 12}
"""Padding that any unit may hold: a GPU computes so many positions in a tenth of the time that it waits between units.
Of 407 human genes and transcripts it makes 27 units with 3.9% padding, and 39 with 3.8% without."""

Shape = tuple[int, int]
"""Rows of a batch, and bases of the longest."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a model needs on a device, in the way it is asked to compute.

    Attributes:
        config: The model.
        device: Where it computes.
        precision: How.
        kept: What is kept of the filters.
    """

    config: HyenaConfig
    device: torch.device
    precision: Precision
    kept: Kept

    @property
    def by_kernels(self) -> bool:
        """Whether the fused kernels compute; else the path for float32 does, whatever products are rounded to."""
        return self.precision == "half" and half.by_kernels(self.device)

    @property
    def per_base(self) -> int:
        """Bytes for each padded base of a batch."""
        if self.by_kernels:
            return half.memory_per_base(self.config)
        return inference.memory_per_base(self.config)

    def beside(self, bases: int, longest: int, *, held: bool = False) -> int:
        """Bytes that a batch of so many padded bases takes beside these and kept spectra; `held`: if they are kept."""
        if self.by_kernels:
            return half.fixed_bytes(self.config, bases, longest, self.kept, held=held)
        rows = max(1, bases // max(longest, 1))
        return inference.fixed_bytes(self.config, longest, self.kept, rows=rows, device=self.device)

    def peak(self, bases: int, longest: int, *, held: bool = False) -> int:
        """Memory that a batch takes beside the model's weights, and without kept spectra on a GPU, in bytes."""
        return self.beside(bases, longest, held=held) + self.per_base * bases

    def kind(self, rows: int, longest: int) -> Shape:
        """What batches have in common that use the same spectra."""
        return batch_class(rows, longest), round_length(longest)

    def spectra(self, rows: int, longest: int) -> int:
        """Bytes of the spectra for a batch, for the fused kernels."""
        if not self.by_kernels:
            return 0  # counted with what is beside
        rows, length = self.kind(rows, longest)
        return spectra_bytes(self.config, length, self.kept, self.device, torch.float16, rows)


def unit_budget(total_bases: int, device: torch.device) -> int:
    """Padded bases of one unit of work: by kind of device and size of the input alone, so that all shards agree."""
    largest = LARGEST_BATCH[device.type]
    return int(np.clip(total_bases // MANY_UNITS, SMALLEST_UNIT[device.type], largest))


def memory_limit(device: torch.device, max_memory: int | None) -> int:
    """Bytes that a run may take on the device now: part of what is free, or what it is given, if that is less."""
    planned = int(free_memory(device) * SHARE)
    return planned if max_memory is None else min(max_memory, planned)


def batch_budget(demand: Demand, longest: int, limit: int) -> int:
    """Padded bases that one batch may hold within the limit; at least 1 (a longer record is a batch of its own)."""
    largest = LARGEST_BATCH[demand.device.type]
    room = limit - demand.beside(largest, min(longest, largest))
    return int(np.clip(room / demand.per_base, 1, largest))


def spectra_budget(demand: Demand, bases: int, longest: int, limit: int) -> int:
    """Bytes of spectra that may be kept beside batches of so many padded bases."""
    if not demand.by_kernels:
        return CACHE_BYTES[demand.device.type]
    return max(0, limit - demand.peak(max(bases, longest), longest, held=True))


def recordings_budget(demand: Demand, bases: int, longest: int, limit: int) -> int:
    """Bytes of recordings that may be kept beside such batches and the spectra of the longest record."""
    if not demand.by_kernels or demand.device.type != "cuda":
        return 0
    needed = spectra_bytes(demand.config, longest, demand.kept, demand.device, torch.float16)
    spare = limit - demand.peak(max(bases, longest), longest) - needed
    return int(np.clip(spare // 2, 0, graphs.BUDGET))


def fits(lengths: np.ndarray, demand: Demand, limit: int) -> np.ndarray:
    """Which records can be computed within the limit, each as a batch of its own: (n,) bool."""
    possible = lengths * demand.per_base <= limit
    for row in np.flatnonzero(possible & (lengths > LARGEST_BATCH[demand.device.type])):
        possible[row] = demand.peak(int(lengths[row]), int(lengths[row])) <= limit
    return possible
