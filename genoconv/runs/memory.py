"""How much memory a run takes, and how large a batch may therefore be."""

import numpy as np
import torch

from genoconv.model.config import HyenaConfig
from genoconv.model.inference import fixed_bytes, memory_per_base
from genoconv.runs.devices import free_memory

SHARE = 0.8
"""Part of the free memory that a run plans with: other processes and the allocator's waste need the rest."""

LARGEST_BATCH = {"cpu": 1 << 16, "cuda": 1 << 22}
"""Padded bases beyond which a batch gains no speed: the CPU works in chunks of a few thousand positions anyway."""

SMALLEST_UNIT, MANY_UNITS = 4096, 64
"""A small input is divided into so many units, for shards and devices to share, but into none smaller than this."""


def unit_budget(total_bases: int, device: torch.device) -> int:
    """Padded bases of one unit of work: by kind of device and size of the input alone, so that all shards agree."""
    largest = LARGEST_BATCH[device.type]
    return int(np.clip(total_bases // MANY_UNITS, SMALLEST_UNIT, largest))


def peak_bytes(config: HyenaConfig, bases: int, longest: int, filter_length: int | None) -> int:
    """Memory that a batch takes beside the model's weights, in bytes.

    Args:
        config: The model.
        bases: Padded bases of the batch.
        longest: Bases of its longest record.
        filter_length: Taps that the filters are cut to, or None.
    """
    return fixed_bytes(config, longest, filter_length) + memory_per_base(config) * bases


def batch_budget(config: HyenaConfig, device: torch.device, filter_length: int | None, longest: int) -> int:
    """Padded bases that one batch may hold on the device now; at least 1 (a longer record is a batch of its own)."""
    largest = LARGEST_BATCH[device.type]
    room = free_memory(device) * SHARE - fixed_bytes(config, min(longest, largest), filter_length)
    return int(np.clip(room / memory_per_base(config), 1, largest))


def fits(lengths: np.ndarray, config: HyenaConfig, device: torch.device, filter_length: int | None) -> np.ndarray:
    """Which records can be computed in the memory that is free, each as a batch of its own: (n,) bool."""
    limit = free_memory(device) * SHARE
    possible = lengths * memory_per_base(config) <= limit
    for row in np.flatnonzero(possible & (lengths > LARGEST_BATCH[device.type])):
        possible[row] = peak_bytes(config, int(lengths[row]), int(lengths[row]), filter_length) <= limit
    return possible
