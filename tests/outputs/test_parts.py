"""Parts: what is committed comes back as it was, in whatever order it was written; the rest leaves no trace."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genoconv.errors import OutputError
from genoconv.outputs import part_files
from genoconv.outputs.assembly import copy_matrices
from genoconv.outputs.hdf5 import open_read
from genoconv.outputs.part_files import PartWriter
from genoconv.outputs.parts import Parts
from genoconv.outputs.store import EmbeddingWriter

WIDTH = 3
KEY = ("mean", 1)


def numbers(rows: np.ndarray) -> np.ndarray:
    """The numbers that stand for some rows."""
    return (rows[:, None] * 10 + np.arange(WIDTH)).astype(np.float32)


def writer(parts: Parts, worker: int = 0, interval: float = 60) -> PartWriter:
    return parts.writer(worker, about={"device": "cpu"}, interval=interval)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 3))
def test_any_order_comes_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], sizes: list[int], workers: int
) -> None:
    out = tmp_path_factory.mktemp("parts") / "out.h5"
    with Parts(out) as parts:
        writers = [writer(parts, worker) for worker in range(workers)]
        first = 0
        for turn in range(12):
            rows = np.array(order[first : first + sizes[turn % len(sizes)]], dtype=np.int64)
            first += len(rows)
            mine = writers[turn % workers]
            if len(rows):
                mine.add(rows, {KEY: numbers(rows)})
            if turn % 2:
                mine.commit()
        for mine in writers:
            mine.commit()
        parts.refresh()
        assert parts.done(12).all()
        rows = np.arange(12)
        ids = [str(row) for row in rows]
        with EmbeddingWriter(out, ids=ids, d_model=WIDTH, poolings=["mean"], layers=[1], obs={}) as store:
            copy_matrices(parts.list(), rows, [KEY], store)
            store.commit({})
        parts.remove()
    with open_read(out) as made:
        assert np.array_equal(made["X"][:], numbers(rows))
    assert [path.name for path in out.parent.iterdir()] == ["out.h5"]


def test_a_row_that_no_part_holds_is_no_row_of_zeros(tmp_path: Path) -> None:
    with Parts(tmp_path / "out.h5") as parts:
        mine = writer(parts)
        mine.add(np.array([0, 1, 3]), {KEY: numbers(np.array([0, 1, 3]))})
        mine.commit()
        parts.refresh()
        store = EmbeddingWriter(
            tmp_path / "x.h5", ids=list("abcd"), d_model=WIDTH, poolings=["mean"], layers=[1], obs={}
        )
        with store, pytest.raises(ValueError, match="row 2"):
            copy_matrices(parts.list(), np.arange(4), [KEY], store)


def test_a_part_is_an_ordinary_npz(tmp_path: Path) -> None:
    with Parts(tmp_path / "out.h5") as parts:
        mine = writer(parts)
        mine.add(np.array([4, 2]), {KEY: numbers(np.array([4, 2]))})
        mine.commit()
        (path,) = parts.folder.glob("part-*.npz")
        with np.load(path) as found:
            assert found["rows"].tolist() == [2, 4]
            assert np.array_equal(found["mean_layer_1"], numbers(np.array([2, 4])))
        with zipfile.ZipFile(path) as archive:
            assert json.loads(archive.read("about.json")) == {"device": "cpu"}


def test_rows_are_committed_in_time_and_when_they_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with Parts(tmp_path / "out.h5") as parts:

        def committed() -> int:
            return len(list(parts.folder.glob("part-*.npz")))

        mine = writer(parts, interval=60)
        mine.commit_if_due(following=1000)
        mine.add(np.array([0]), {KEY: numbers(np.array([0]))})
        mine.commit_if_due(following=50)
        assert committed() == 0
        now += 20
        mine.commit_if_due(following=30)
        assert committed() == 0
        mine.commit_if_due(following=45)
        assert committed() == 1
        monkeypatch.setattr(part_files, "PART_BYTES", 10)
        mine.add(np.array([1]), {KEY: numbers(np.array([1]))})
        mine.commit_if_due(following=0)
        assert committed() == 2


def test_what_is_not_committed_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with Parts(out) as parts:
        mine = writer(parts)
        mine.add(np.array([1]), {KEY: numbers(np.array([1]))})
        mine.discard()
        mine.commit()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9, 0.99])
def test_damage_is_found_and_the_part_removed(tmp_path: Path, place: float) -> None:
    out = tmp_path / "out.h5"
    with Parts(out) as parts:
        for row in range(2):
            mine = writer(parts)
            mine.add(np.array([row]), {KEY: numbers(np.array([row])).repeat(30, axis=1)})
            mine.commit()
        first, _ = sorted(parts.folder.glob("part-*.npz"))
    contents = bytearray(first.read_bytes())
    contents[int(place * len(contents)) :] = b""
    first.write_bytes(contents)
    with Parts(out) as parts:
        assert parts.done(2).tolist() == [False, True]
        assert parts.damaged == [first]
        assert not first.exists()


def test_one_run_at_a_time_and_what_an_earlier_one_left(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with Parts(out) as parts:
        with pytest.raises(OutputError, match="another process"):
            Parts(out)
        mine = writer(parts)
        mine.add(np.array([3]), {KEY: numbers(np.array([3]))})
        mine.commit()
        (path,) = parts.folder.glob("part-*.npz")
        path.with_name("part-9-0-000001.npz").write_bytes(path.read_bytes())
        parts.refresh()
        assert len(parts.list()) == 2
        assert parts.done(4).tolist() == [False, False, False, True]
        parts.describe(lambda: {"a": 1})
        assert not (parts.folder / "run.json").exists()
        mine.add(np.array([2]), {KEY: numbers(np.array([2]))})
        mine.commit()
    with Parts(out) as parts:
        assert parts.description == {"a": 1}
    (parts.folder / "run.json").write_text("{")
    with pytest.raises(OutputError, match="cannot be read"):
        Parts(out)
    with Parts(out, restart=True) as parts:
        assert parts.description is None
    assert list(tmp_path.iterdir()) == []


def test_rows_that_wait_are_read_like_those_of_a_part_and_committed_at_the_end(tmp_path: Path) -> None:
    out, told = tmp_path / "out.h5", list[list[int]]()
    with Parts(out) as parts:
        mine = writer(parts)
        mine.add(np.array([7, 2]), {KEY: numbers(np.array([7, 2]))})
        parts.listen(lambda rows, matrices: told.append(rows.tolist()))
        mine.add(np.array([5]), {KEY: numbers(np.array([5]))})
        mine.remark(5, "odd")
        (waiting,) = parts.list()
        mine.add(np.array([1]), {KEY: numbers(np.array([1]))})
        assert (waiting.rows.tolist(), waiting.about, waiting.remarks) == ([2, 5, 7], {"device": "cpu"}, {5: "odd"})
        block = np.empty((2, WIDTH), np.float32)
        waiting.read_matrix(KEY, 1, block)
        assert np.array_equal(block, numbers(np.array([5, 7])))
        assert told == [[5], [1]]
        assert not parts.done(8).any()
    with Parts(out) as parts:
        assert np.flatnonzero(parts.done(8)).tolist() == [1, 2, 5, 7]
        mine = writer(parts)
        mine.add(np.array([0]), {KEY: numbers(np.array([0]))})
        parts.remove()
    assert list(tmp_path.iterdir()) == []
