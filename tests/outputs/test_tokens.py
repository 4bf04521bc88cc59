"""The per-nucleotide file: pieces in any order, nothing missing, and it agrees with its embeddings file."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genoconv.errors import OutputError
from genoconv.outputs.formats import predicted_token_bytes, tokens_path
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.token_layout import CHECKED_ROWS
from genoconv.outputs.tokens import TokenWriter
from genoconv.outputs.verification import verify

LENGTHS = (5, 1, 2500, 0, 30)


def states(length: int, seed: int, width: int = 4) -> Array:
    return np.random.default_rng(seed).standard_normal((length, width), dtype=np.float32)


def writer_of(path: Path, lengths: tuple[int, ...] = LENGTHS, **options: Any) -> TokenWriter:
    ids = [f"g{row}" for row in range(len(lengths))]
    return TokenWriter(path, ids=ids, lengths=lengths, d_model=4, layer=9, **options)


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_whole_records_in_any_order(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "genes.tokens.h5"
    with writer_of(path, dtype=dtype) as writer:
        for row in (2, 4, 0, 1):
            writer.write(row, states(LENGTHS[row], row))
        writer.commit({"model": "tiny"})
    assert verify(path) == []
    f = h5py.File(path)
    ids, o = f["id"].asstr()[:], f["offsets"][:]
    for row, length in enumerate(LENGTHS):
        assert np.array_equal(f["data"][o[row] : o[row + 1]], states(length, row).astype(dtype))
    f.close()
    assert list(ids) == ["g0", "g1", "g2", "g3", "g4"]


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, 5), max_size=6), order=st.randoms(use_true_random=False))
def test_pieces_in_any_order(tmp_path_factory: pytest.TempPathFactory, cuts: list[int], order: Any) -> None:
    path = tmp_path_factory.mktemp("tokens") / "genes.tokens.h5"
    whole, edges = states(23_000, 1), [0, *(CHECKED_ROWS * cut for cut in sorted(set(cuts) - {0})), 23_000]
    pieces = list(pairwise(edges))
    order.shuffle(pieces)
    with writer_of(path, (7, 23_000)) as writer:
        writer.write(0, states(7, 0))
        for start, end in pieces:
            writer.write(1, np.zeros((end - start, 4)), start=start)
            writer.write(1, whole[start:end], start=start)
        writer.commit({})
    with h5py.File(path) as file:
        assert np.array_equal(file["data"][7:], whole)
    assert verify(path) == []


def test_a_gap_stops_the_commit(tmp_path: Path) -> None:
    with writer_of(tmp_path / "genes.tokens.h5", (3, 9000, 2)) as writer:
        writer.write(0, states(3, 0))
        writer.write(1, states(4096, 1))
        writer.write(1, states(808, 1), start=8192)
        with pytest.raises(OutputError, match="never embedded") as refused:
            writer.commit({})
    assert refused.value.where == "record g1, base 4097"
    assert list(tmp_path.iterdir()) == []


def test_the_numbers_lie_in_one_piece_for_readers_that_map_the_file(tmp_path: Path) -> None:
    path = tmp_path / "genes.tokens.h5"
    with writer_of(path, (50_000,)) as writer:
        writer.write(0, states(50_000, 0))
        writer.commit({})
    with h5py.File(path) as file:
        first = file["data"].id.get_offset()
    assert first % 4096 == 0
    assert np.array_equal(np.memmap(path, "<f4", "r", first, (50_000, 4)), states(50_000, 0))


@pytest.mark.parametrize("lengths", [(), (0, 0)])
def test_a_file_without_bases(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    path = tmp_path / "genes.tokens.h5"
    with writer_of(path, lengths) as writer:
        writer.commit({})
    assert verify(path) == []


def test_a_number_beyond_float16_names_record_and_base(tmp_path: Path) -> None:
    values = states(10, 0)
    values[3, 1] = -1e5
    writer = writer_of(tmp_path / "genes.tokens.h5", (4106,), dtype="f2")
    with writer, pytest.raises(OutputError, match="--dtype f4") as refused:
        writer.write(0, values, start=4096)
    assert refused.value.where == "record g0, base 4100, layer 9"


def test_a_file_larger_than_the_disk_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"needs about .* GB and .* GB are free"):
        writer_of(tmp_path / "genes.tokens.h5", (10**15,))
    assert list(tmp_path.iterdir()) == []


def test_pieces_that_do_not_fit_are_our_own_mistake(tmp_path: Path) -> None:
    with writer_of(tmp_path / "genes.tokens.h5") as writer:
        for row, start, length in ((0, 0, 6), (0, 5, 1), (0, -1, 2), (0, 1, 4), (0, 0, 4)):
            with pytest.raises(ValueError, match="of a record of 5 bases"):
                writer.write(row, states(length, 0), start=start)
    with pytest.raises(ValueError, match="1 lengths for 2 ids"):
        TokenWriter(tmp_path / "genes.tokens.h5", ids="ab", lengths=[1], d_model=4, layer=1)


def test_the_name_and_the_size(tmp_path: Path) -> None:
    assert tokens_path("out/genes.h5") == Path("out/genes.tokens.h5")
    assert tokens_path("genes.v2.h5ad") == Path("genes.v2.tokens.h5")
    path = tmp_path / "genes.tokens.h5"
    with writer_of(path, (50_000,)) as writer:
        writer.write(0, states(50_000, 0))
        writer.commit({})
    assert 1 <= predicted_token_bytes(50_000, 1, 4, dtype="f4") / path.stat().st_size <= 1.1


@pytest.mark.parametrize(
    ("ids", "lengths", "shift", "finding"),
    [
        (["a", "b"], [6, 3000], 0.0, ""),
        (["a", "c"], [6, 3000], 0.0, "other records"),
        (["a", "b"], [7, 3000], 0.0, "other lengths"),
        (["a", "b"], [6, 3000], 0.01, "other numbers for row 0"),
    ],
)
def test_verify_compares_both_files(
    tmp_path: Path, ids: list[str], lengths: list[int], shift: float, finding: str
) -> None:
    path, true_lengths = tmp_path / "genes.h5", np.array([6, 3000])
    with EmbeddingWriter(
        path, ids=["a", "b"], d_model=4, poolings=["mean"], layers=[9], obs={"length": true_lengths}
    ) as writer:
        writer.write(0, "mean", 9, np.stack([states(length, length).mean(axis=0) for length in true_lengths]))
        writer.commit({})
    with TokenWriter(tokens_path(path), ids=ids, lengths=lengths, d_model=4, layer=9) as tokens:
        for row, length in enumerate(lengths):
            tokens.write(row, states(length, length) + shift)
        tokens.commit({})
    findings = verify(path)
    assert (finding in findings[0]) if finding else not findings
