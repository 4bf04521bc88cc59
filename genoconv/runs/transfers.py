"""What a device is given and gives back: the token ids of a batch, made ahead; hidden states, piece by piece."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genoconv.inputs.ahead import ahead
from genoconv.inputs.fasta import Record
from genoconv.inputs.tokens import encode_batch
from genoconv.outputs.hdf5 import Array

Unit = tuple[Array, Sequence[Record]]
"""Rows of the input (k,) and their k records, computed together."""

PIECE_BYTES = 16 << 20
"""Hidden states that are copied to the host at once: enough for the full speed of a copy, little to hold."""

STORED = {"f4": torch.float32, "f2": torch.float16}


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that are computed together.

    Attributes:
        rows: Their rows of the input, (B,).
        records: They themselves.
        lengths: Their bases.
        ids: Their token ids, (B, L) uint8, padded on the right; in pinned memory if a GPU reads them.
        other_strand: The same of their reverse complements, if it was asked for.
    """

    rows: Array
    records: Sequence[Record]
    lengths: Sequence[int]
    ids: Tensor
    other_strand: Tensor | None

    @property
    def bases(self) -> int:
        """Bases of all records together."""
        return sum(self.lengths)

    def halves(self) -> "tuple[Batch, Batch]":
        """The first half of the records, and the others."""
        middle = (len(self.records) + 1) // 2
        return self._part(slice(middle)), self._part(slice(middle, None))

    def alone(self, place: int) -> "Batch":
        """One of the records, by its place here, without padding."""
        return self._part(slice(place, place + 1))

    def _part(self, rows: slice) -> "Batch":
        lengths = self.lengths[rows]
        part = rows, slice(max(lengths))
        other = None if self.other_strand is None else self.other_strand[part]
        return Batch(self.rows[rows], self.records[rows], lengths, self.ids[part], other)


def batches(units: Iterable[Unit], device: torch.device, *, both_strands: bool) -> Generator[Batch]:
    """Turn units into batches that can go to a device at once; the next one is made while one is computed.

    Args:
        units: What is to be computed.
        device: Where.
        both_strands: Whether the reverse complements are computed too.
    """
    return ahead(make_batch(rows, records, device, both_strands=both_strands) for rows, records in units)


def make_batch(rows: Array, records: Sequence[Record], device: torch.device, *, both_strands: bool) -> Batch:
    """Encode and pad the records of one unit, in memory that the device copies from while it computes."""
    sequences = [record.sequence for record in records]
    strands = [torch.from_numpy(encode_batch(sequences, turn=turn)) for turn in (False, True)[: 1 + both_strands]]
    if device.type == "cuda":
        strands = [strand.pin_memory() for strand in strands]
    return Batch(rows, records, list(map(len, sequences)), strands[0], strands[1] if both_strands else None)


def to_host(states: Tensor, dtype: str) -> Iterator[Array]:
    """Copy hidden states to the host, in the stored type, one piece ahead of the one that is used.

    Args:
        states: Numbers (L, d), L at least 1, on any device; they must not change until the last piece is there.
        dtype: "f4" or "f2"; numbers beyond float16 become infinite.

    Yields:
        Consecutive rows (k, d), valid until the next ones are asked for. All memory is taken before the first.
    """
    stored = STORED[dtype]
    pieces = torch.split(states, max(1, PIECE_BYTES // (states.shape[1] * stored.itemsize)))
    on_gpu = states.device.type == "cuda"
    converted = torch.empty_like(pieces[0], dtype=stored)
    buffers = [torch.empty(pieces[0].shape, dtype=stored, pin_memory=on_gpu) for _ in range(2)]
    arrived = [torch.cuda.Event() for _ in range(2)] if on_gpu else []  # type: ignore[no-untyped-call]

    def send(number: int) -> None:
        piece = pieces[number]
        buffers[number % 2][: len(piece)].copy_(converted[: len(piece)].copy_(piece), non_blocking=True)
        if on_gpu:
            arrived[number % 2].record(torch.cuda.current_stream(states.device))

    send(0)
    for number, piece in enumerate(pieces):
        if number + 1 < len(pieces):
            send(number + 1)
        if on_gpu:
            arrived[number % 2].synchronize()
        yield np.asarray(buffers[number % 2][: len(piece)])
