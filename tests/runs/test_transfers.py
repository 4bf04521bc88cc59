"""Batches on their way to a device, hidden states on their way back."""

import numpy as np
import pytest
import torch

from genoconv.inputs.fasta import Records
from genoconv.inputs.tokens import PAD, encode, reverse_complement
from genoconv.runs import transfers
from genoconv.runs.transfers import batches, make_batch, to_host

CPU = torch.device("cpu")
SEQUENCES = (b"ACGTNACG", b"AC", b"GGGTT", b"T")
RECORDS = Records([f"r{place}" for place in range(4)], SEQUENCES)
ROWS = np.array([3, 5, 6, 9])


@pytest.mark.parametrize("both", [False, True])
def test_a_batch_holds_its_records_one_byte_a_base_and_halves_hold_theirs(both: bool) -> None:
    batch = make_batch(ROWS, RECORDS, CPU, both_strands=both)
    first, second = batch.halves()
    assert (batch.bases, batch.ids.dtype) == (sum(map(len, SEQUENCES)), torch.uint8)
    assert first.rows.tolist() + second.rows.tolist() == ROWS.tolist()
    assert [part.ids.shape for part in (batch, first, second)] == [(4, 8), (2, 8), (2, 5)]
    for part in (batch, first, second):
        strands = [part.ids] if part.other_strand is None else [part.ids, part.other_strand]
        assert len(strands) == 1 + both
        for turned, ids in enumerate(strands):
            for record, row in zip(part.records, ids.numpy(), strict=True):
                own = encode(record.sequence)
                assert np.array_equal(row[: len(record)], reverse_complement(own) if turned else own)
                assert (row[len(record) :] == PAD).all()


def test_batches_come_in_the_order_of_the_units() -> None:
    units = [(ROWS[place : place + 1], RECORDS[place : place + 1]) for place in range(4)]
    assert [batch.records[0].id for batch in batches(units, CPU, both_strands=False)] == ["r0", "r1", "r2", "r3"]


@pytest.mark.parametrize("dtype", ["f4", "f2"])
@pytest.mark.parametrize("lengths", [(1,), (4,), (5,), (3, 3, 2), (11, 9, 1, 8)], ids=str)
@pytest.mark.parametrize("fitting", [4, 9, 100])
def test_states_come_to_the_host_in_pieces_in_the_stored_type(
    dtype: str, lengths: tuple[int, ...], fitting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "CHECKED_ROWS", 4)
    monkeypatch.setattr(transfers, "PIECE_BYTES", fitting * 3 * np.dtype(dtype).itemsize)
    states = torch.randn(len(lengths), max(lengths), 3)
    states[0, lengths[0] - 1, 0] = 1e6
    found = [list[np.ndarray]() for _ in lengths]
    finite = []
    for piece in to_host(states, lengths, dtype):
        numbers = piece.numbers()
        assert numbers.nbytes <= max(4, fitting) * 3 * numbers.itemsize
        assert piece.start % 4 == 0
        finite.append(bool(piece.finite))
        for place, own in zip(piece.places, numbers, strict=True):
            assert piece.start == sum(map(len, found[place]))
            found[place].append(own)
    with np.errstate(over="ignore"):
        for place, length in enumerate(lengths):
            whole = np.concatenate(found[place])
            assert np.array_equal(whole[:length], states[place, :length].numpy().astype(dtype)[: len(whole)])
            assert len(whole) >= length
    assert all(finite) == (dtype == "f4")
