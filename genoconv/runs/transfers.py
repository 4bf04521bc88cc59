"""What a device is given and gives back: the token ids of a batch, made ahead; hidden states, in pieces."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genoconv.inputs.ahead import ahead
from genoconv.inputs.fasta import Records
from genoconv.inputs.tokens import encode_batch
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.token_layout import CHECKED_ROWS

Unit = tuple[Array, Records]
"""Rows of the input (k,) and their k records, computed together."""

PIECE_BYTES = 16 << 20
"""Hidden states that are copied to the host at once: enough for the full speed of a copy and of a disk."""

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
    records: Records
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


def make_batch(rows: Array, records: Records, device: torch.device, *, both_strands: bool) -> Batch:
    """Encode and pad the records of one unit, in memory that the device copies from while it computes."""
    sequences = records.sequences
    strands = [torch.from_numpy(encode_batch(sequences, turn=turn)) for turn in (False, True)[: 1 + both_strands]]
    if device.type == "cuda":
        strands = [strand.pin_memory() for strand in strands]
    return Batch(rows, records, list(map(len, sequences)), strands[0], strands[1] if both_strands else None)


@dataclass(frozen=True, slots=True)
class Piece:
    """Hidden states of consecutive bases of some records of a batch, on their way to the host.

    Attributes:
        places: The records, consecutive in the batch.
        start: The first of the bases, the same of all.
        finite: Whether all the numbers are, () bool on the device; those of padding count too.
    """

    places: range
    start: int
    finite: Tensor
    _states: Tensor
    _arrived: torch.cuda.Event | None

    def numbers(self) -> Array:
        """Waits for the copy: the numbers (k, r, d) in the stored type; may be called in any thread."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return np.asarray(self._states)


def to_host(states: Tensor, lengths: Sequence[int], dtype: str) -> Iterator[Piece]:
    """Send the hidden states of a batch to the host, in the stored type and in memory that belongs to each piece.

    Args:
        states: Numbers (B, L, d) on any device. What is computed later on the device's stream may overwrite them.
        lengths: Bases of each record: nothing is sent that all of a piece do not have.
        dtype: "f4" or "f2"; numbers beyond float16 become infinite.

    Yields:
        Several records together if they are short, else stretches of one, each of as many `CHECKED_ROWS` as fit.
    """
    stored, on_gpu = STORED[dtype], states.device.type == "cuda"
    fitting = max(1, PIECE_BYTES // (states.shape[2] * stored.itemsize))
    together = max(1, fitting // states.shape[1])
    step = max(1, fitting // CHECKED_ROWS) * CHECKED_ROWS
    for first in range(0, len(lengths), together):
        places = range(first, min(first + together, len(lengths)))
        longest = max(lengths[place] for place in places)
        for start in range(0, longest, step):
            piece = states[first : places.stop, start : min(start + step, longest)]
            own = torch.empty(piece.shape, dtype=stored, device=states.device).copy_(piece)
            finite, arrived = torch.isfinite(own).all(), None
            if on_gpu:
                own, arrived = _to_pinned(own), _event(states.device)
            yield Piece(places, start, finite, own, arrived)


@dataclass(frozen=True, slots=True)
class Arriving:
    """Tensors of a device on their way to the host, and with them all that was launched before."""

    _tensors: tuple[Tensor, ...]
    _arrived: torch.cuda.Event | None

    def wait(self) -> tuple[Array, ...]:
        """Waits for the copies: their numbers."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return tuple(np.asarray(tensor) for tensor in self._tensors)


def send(*tensors: Tensor) -> Arriving:
    """Copy small tensors of one device to the host, without waiting for them."""
    device = tensors[0].device
    if device.type != "cuda":
        return Arriving(tensors, None)
    return Arriving(tuple(map(_to_pinned, tensors)), _event(device))


def _to_pinned(tensor: Tensor) -> Tensor:
    """A copy on the host, complete when the device's stream has come so far."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _event(device: torch.device) -> torch.cuda.Event:
    """What tells when the device's stream has come so far."""
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event
