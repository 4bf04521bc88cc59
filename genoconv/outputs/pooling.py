"""Hidden states of a padded batch (B, L, d) -> one vector per record, (B, d) or of both strands (B, 2d)."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

POOLS = ("mean", "max", "last")

SITE = "site"
"""Not one state but two, both of the same base: of the sequence as given, and of its reverse complement.

A causal model's state at a base knows what lies upstream of it; that of the other strand knows what lies downstream.
"""

# Positions taken at a time. One core, a record of 262,144 bases of 256 numbers: 0.03 s at 1024, 0.05 s at 256,
# 0.06 s at 4096, 0.30 s all at once.
CHUNK_POSITIONS = 1024


class Pool:
    """Pools hidden states that arrive in one piece or in consecutive pieces along the sequence.

    The mean is accumulated in float64, so that neither the length of a record, nor the other records of its batch, nor
    the cut into pieces shows in the float32 result.

    Args:
        kind: "mean", "max" or "last" (the hidden state of the last base).
        lengths: Bases of each record (B,), each at least 1.

    Raises:
        ValueError: An unknown kind, or a length below 1.
    """

    def __init__(self, kind: str, lengths: Tensor | Sequence[int]) -> None:
        if kind not in POOLS:
            raise ValueError(f"pooling {kind!r} is none of {POOLS}")
        self._kind = kind
        self._lengths = torch.as_tensor(lengths).to(device="cpu", dtype=torch.int64)
        if self._lengths.numel() and int(self._lengths.min()) < 1:
            raise ValueError("a record of no bases has no pooled embedding")
        self._position = 0
        self._state: Tensor | None = None  # (B, d): float64 sums, or maxima or last states so far

    @torch.no_grad()
    def add(self, hidden: Tensor) -> Self:
        """Takes the next positions: hidden (B, l, d), any float type, on any device."""
        if hidden.ndim != 3 or hidden.shape[0] != len(self._lengths):
            raise ValueError(f"hidden of shape {tuple(hidden.shape)} for {len(self._lengths)} records")
        if self._state is None:
            dtype = torch.float64 if self._kind == "mean" else hidden.dtype
            start = float("-inf") if self._kind == "max" else 0.0
            self._state = torch.full((hidden.shape[0], hidden.shape[2]), start, dtype=dtype, device=hidden.device)
        for offset in range(0, hidden.shape[1], CHUNK_POSITIONS):
            self._add_chunk(self._state, hidden[:, offset : offset + CHUNK_POSITIONS])
        return self

    def result(self) -> Tensor:
        """The pooled vectors (B, d) float32.

        Raises:
            ValueError: Fewer positions were added than the longest record has.
        """
        if self._state is None or self._position < int(self._lengths.max()):
            raise ValueError(f"{self._position} positions pooled of {int(self._lengths.max())}")
        if self._kind == "mean":
            return (self._state / self._lengths.to(self._state.device)[:, None]).float()
        return self._state.float()

    def _add_chunk(self, state: Tensor, chunk: Tensor) -> None:
        first, size = self._position, chunk.shape[1]
        self._position += size
        if self._kind == "last":
            rows = torch.nonzero((self._lengths > first) & (self._lengths <= first + size))[:, 0]
            places = self._lengths[rows] - 1 - first
            rows, places = rows.to(chunk.device), places.to(chunk.device)
            state[rows] = chunk[rows, places]
            return
        counts = (self._lengths - first).clamp(0, size)  # (B,) bases of each record in this chunk
        reduced = (_by_record if chunk.device.type == "cpu" else _masked)(chunk, counts, self._kind)
        if self._kind == "max":
            torch.maximum(state, reduced, out=state)
        else:
            state += reduced


def _by_record(chunk: Tensor, counts: Tensor, kind: str) -> Tensor:
    """Maxima or float64 sums (B, d) over the first `counts` (B,) positions of a chunk (B, l, d), row by row.

    On the CPU 20 times faster than `_masked` (64 records of 1,000 to 4,096 bases, 256 numbers each, one core).
    """
    dtype, start = (chunk.dtype, float("-inf")) if kind == "max" else (torch.float64, 0.0)
    reduced = torch.full((chunk.shape[0], chunk.shape[2]), start, dtype=dtype)
    for row, count in enumerate(counts.tolist()):
        if count:
            values = chunk[row, :count]
            reduced[row] = values.amax(dim=0) if kind == "max" else values.sum(dim=0, dtype=dtype)
    return reduced


def _masked(chunk: Tensor, counts: Tensor, kind: str) -> Tensor:
    """The same for all rows at once: few launches, as a GPU wants it."""
    if int(counts.min()) < chunk.shape[1]:
        positions = torch.arange(chunk.shape[1], device=chunk.device)
        padding = positions[None, :] >= counts.to(chunk.device)[:, None]  # (B, l)
        chunk = chunk.masked_fill(padding[:, :, None], float("-inf") if kind == "max" else 0.0)
    return chunk.amax(dim=1) if kind == "max" else chunk.sum(dim=1, dtype=torch.float64)


def pool_site(
    hidden: Tensor, lengths: Tensor | Sequence[int], site: int | None = None, *, reverse: bool = False
) -> Tensor:
    """Takes the states of one base of each record.

    Args:
        hidden: Hidden states (B, L, d), any float type, padded on the right.
        lengths: Bases of each record (B,), from 1 to L.
        site: The base, counted from 1; None is the middle one (of an even number, the second of the two).
        reverse: The states are those of the reverse complements; the site is counted along the sequences as given.

    Returns:
        One vector per record (B, d), float32, on the device of `hidden`.

    Raises:
        ValueError: A record has no such base.
    """
    sizes = torch.as_tensor(lengths).to(device="cpu", dtype=torch.int64)
    places = sizes // 2 if site is None else torch.full_like(sizes, site - 1)
    if bool(((places < 0) | (places >= sizes)).any()):
        raise ValueError(f"no base {site} in a record of {int(sizes.min())}")
    places = sizes - 1 - places if reverse else places
    rows = torch.arange(len(sizes), device=hidden.device)
    return hidden[rows, places.to(hidden.device)].float()


def pool(hidden: Tensor, lengths: Tensor | Sequence[int], kind: str) -> Tensor:
    """Pools a right-padded batch.

    Args:
        hidden: Hidden states (B, L, d), any float type; what padding holds, even NaN, does not matter.
        lengths: Bases of each record (B,), from 1 to L.
        kind: One of `POOLS`.

    Returns:
        One vector per record (B, d), float32, on the device of `hidden`.

    Raises:
        ValueError: An unknown kind, or lengths that do not fit.
    """
    return Pool(kind, lengths).add(hidden).result()
