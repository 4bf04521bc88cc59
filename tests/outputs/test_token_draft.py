"""Numbers of single bases between two starts of a run: kept, moved where records are left out, damaged, finished."""

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from genoconv.errors import OutputError
from genoconv.outputs.atomic import AtomicFile
from genoconv.outputs.parts import Parts
from genoconv.outputs.token_layout import TokenLayout
from genoconv.outputs.tokens import complete, token_layout
from genoconv.outputs.verification import verify

WIDTH = 4
KEY = ("mean", 1)
ROWS = np.arange(6)
LENGTHS = np.array([5, 9000, 3, 4096, 20, 1])


def states(row: int) -> np.ndarray:
    """The numbers that stand for the bases of a row."""
    return np.random.default_rng(row).standard_normal((int(LENGTHS[row]), WIDTH), np.float32)


def piece(row: int, start: int) -> np.ndarray:
    """Some of them, as they come from a device."""
    return states(row)[None, start : start + 8192]


def layout(rows: np.ndarray = ROWS) -> TokenLayout:
    return token_layout(rows, LENGTHS[rows], WIDTH, "f4")


def commit(parts: Parts, *rows: int, worker: int = 0) -> None:
    """What a worker does with some rows, all of them in one part."""
    writer = parts.writer(worker, about={}, interval=60, tokens=True)
    for row in rows:
        for start in range(0, int(LENGTHS[row]), 8192):
            writer.add_tokens([row], start, partial(piece, row, start))
    writer.add(np.array(rows), {KEY: np.zeros((len(rows), WIDTH), np.float32)})
    writer.commit()
    writer.close()


def finish(parts: Parts, final: Path, rows: np.ndarray = ROWS) -> None:
    parts.refresh()
    data, checks = parts.finished_tokens(rows)
    complete(AtomicFile(final), data, checks, ids=[f"g{row}" for row in rows], layer=1, provenance={})
    data.close()


def assert_holds(final: Path, rows: np.ndarray = ROWS) -> None:
    assert verify(final) == []
    with h5py.File(final) as file:
        assert file["id"].asstr()[:].tolist() == [f"g{row}" for row in rows]
        assert np.array_equal(file["data"][:], np.concatenate([states(row) for row in rows.tolist()]))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "out.tokens.h5"


def test_several_starts_and_workers_make_one_file(out: Path, final: Path) -> None:
    for rows in ((4, 1), (0, 5), (2, 3)):
        with Parts(out) as parts:
            parts.prepare_tokens(layout(), final)
            assert parts.damaged == []
            for worker, row in enumerate(rows):
                commit(parts, row, worker=worker)
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        assert parts.done(6).all()
        finish(parts, final)
        parts.remove()
    assert_holds(final)
    assert [path.name for path in out.parent.iterdir()] == [final.name]


@pytest.mark.parametrize("kept", [[0, 1, 2, 4, 5], [1, 3], [5], []])
def test_records_that_failed_are_left_out(out: Path, final: Path, kept: list[int]) -> None:
    rows = np.array(kept, dtype=np.int64)
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        writer = parts.writer(0, about={}, interval=60, tokens=True)
        writer.add_tokens([3], 0, lambda: states(0)[None].repeat(900, axis=1)[:, :4096])  # and then it fails
        writer.commit()
        writer.close()
        if kept:
            commit(parts, *kept)
        finish(parts, final, rows)
        assert not list(parts.folder.glob("tokens-*"))[1:]
        parts.remove()
    if kept:
        assert_holds(final, rows)
    else:
        assert verify(final) == []


def test_a_start_that_has_other_records_to_do_keeps_what_is_done(out: Path, final: Path) -> None:
    few = np.array([1, 3, 4])
    with Parts(out) as parts:
        parts.prepare_tokens(layout(few), final)
        commit(parts, 3, 1)
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        assert parts.damaged == []
        assert parts.done(6).tolist() == [False, True, False, True, False, False]
        commit(parts, 0, 2, 4, 5)
        finish(parts, final)
    assert_holds(final)


@pytest.mark.parametrize("place", [0, 30_000, 140_000])
def test_a_part_whose_numbers_are_damaged_is_computed_again(out: Path, final: Path, place: int) -> None:
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        commit(parts, 0, 1)
        commit(parts, 2, 5, worker=1)
        (draft,) = parts.folder.glob("tokens-*.raw")
    damaged = bytearray(draft.read_bytes())
    damaged[layout().first_byte + place] ^= 1
    draft.write_bytes(damaged)
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        assert len(parts.damaged) == 1
        assert parts.done(6).tolist() == [False, False, True, False, False, True]
        commit(parts, 0, 1, 3, 4)
        finish(parts, final)
    assert_holds(final)


@pytest.mark.parametrize("lost", ["tokens-*.raw", "tokens-*.npz"])
def test_numbers_that_are_gone_are_computed_again(out: Path, final: Path, lost: str) -> None:
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        commit(parts, 0, 1)
        (path,) = parts.folder.glob(lost)
        path.unlink()
        with pytest.raises(OutputError, match="cannot be written"):
            commit(parts, 2)
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        assert len(parts.damaged) == 1
        assert not parts.done(6).any()
        commit(parts, *ROWS)
        finish(parts, final)
    assert_holds(final)


def test_killed_between_the_last_steps_the_finished_file_is_taken_back(out: Path, final: Path) -> None:
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        commit(parts, 0, 1, 2)
        commit(parts, 5, 4, worker=1)  # 3 failed
        finish(parts, final, np.array([0, 1, 2, 4, 5]))
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        assert parts.damaged == []
        assert not final.exists()
        commit(parts, 3)
        finish(parts, final)
    assert_holds(final)


def test_another_file_of_the_final_name_is_left_alone(out: Path, final: Path) -> None:
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        commit(parts, 0, 1)
        commit(parts, *ROWS[2:], worker=1)
        finish(parts, final)
        (first, _) = sorted(parts.folder.glob("part-*.npz"))
        first.unlink()
    before = final.read_bytes()
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        assert not parts.done(6).any()
    assert final.read_bytes() == before


@pytest.mark.parametrize("step", ["create_around", "write_texts", "seal"])
def test_finishing_that_was_broken_off_is_done_again(
    out: Path, final: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        commit(parts, *ROWS)
        with monkeypatch.context() as broken:
            broken.setattr(f"genoconv.outputs.tokens.hdf5.{step}", killed)
            with pytest.raises(KeyboardInterrupt):
                finish(parts, final)
        assert not final.exists()
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        assert parts.damaged == []
        finish(parts, final)
    assert_holds(final)


def test_a_copy_that_does_not_fit_is_refused(out: Path, final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Parts(out) as parts:
        parts.prepare_tokens(layout(), final)
        commit(parts, 0, 1)
        with monkeypatch.context() as full:
            full.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
            with pytest.raises(OutputError, match="records are left out"):
                finish(parts, final, np.array([0, 1]))
        finish(parts, final, np.array([0, 1]))
    assert_holds(final, np.array([0, 1]))
