"""Numbers of single bases on their way to a file: in any order, from several threads, with their checksums."""

import errno
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genoconv.outputs import token_data
from genoconv.outputs.token_data import TokenData, TokenWrites, checksums
from genoconv.outputs.token_layout import CHECKED_ROWS, TokenLayout

WIDTH = 3
ROWS = np.array([2, 3, 7])
LENGTHS = np.array([5, 2 * CHECKED_ROWS + 9, CHECKED_ROWS])


def states(row: int) -> np.ndarray:
    """The numbers that stand for the bases of a row."""
    length = int(LENGTHS[ROWS.tolist().index(row)])
    return np.random.default_rng(row).standard_normal((length, WIDTH), np.float32)


def expected(row: int) -> list[int]:
    """The checksums of a row."""
    own = states(row)
    return [zlib.crc32(own[start : start + CHECKED_ROWS].tobytes()) for start in range(0, len(own), CHECKED_ROWS)]


@pytest.fixture
def data(tmp_path: Path) -> Iterator[TokenData]:
    made = TokenData(tmp_path / "numbers", TokenLayout(ROWS, LENGTHS, WIDTH, "f4", 100), create=True)
    yield made
    made.close()


def test_what_is_written_is_read_again_by_another_process(data: TokenData) -> None:
    for place in (2, 0, 1):
        own = states(int(ROWS[place]))
        assert data.write(place, 0, own).tolist() == expected(int(ROWS[place]))
    data.sync()
    other = TokenData(data.path, data.layout)
    for place, row in enumerate(ROWS.tolist()):
        assert np.array_equal(other.read(place, 0, LENGTHS[place]), states(row))
        assert other.is_sound(place, checksums(states(row)))
    assert np.array_equal(other.read(1, 4096, 5000), states(3)[4096:5000])
    other.write(1, CHECKED_ROWS, states(3)[:CHECKED_ROWS])
    assert not data.is_sound(1, checksums(states(3)))
    other.close()
    assert data.path.stat().st_size == 100 + LENGTHS.sum() * WIDTH * 4
    os.truncate(data.path, 1000)
    with pytest.raises(ValueError, match="shorter"):
        data.read(1, 0, CHECKED_ROWS)


def test_what_does_not_belong_there_is_our_own_mistake(data: TokenData) -> None:
    for start, values in ((1, states(2)[1:]), (0, states(3)), (0, states(2).astype("f2")), (0, states(2)[:, :2])):
        with pytest.raises(ValueError, match="base"):
            data.write(0, start, values)


def test_pieces_of_several_records_are_written_in_threads(data: TokenData) -> None:
    writes = TokenWrites(data)
    together = np.full((2, 3 * CHECKED_ROWS, WIDTH), np.nan, np.float32)
    together[0, :5] = states(2)
    together[1, :CHECKED_ROWS] = states(7)
    writes.put([2, -1, 7], 0, lambda: np.stack([together[0], together[0], together[1]]))
    writes.put([3], 0, lambda: states(3)[None, :CHECKED_ROWS])
    writes.put([3], CHECKED_ROWS, lambda: states(3)[None, CHECKED_ROWS:])
    writes.settle()
    assert writes.checksums([7, 2, 3]).tolist() == [*expected(7), *expected(2), *expected(3)]
    for place, row in enumerate(ROWS.tolist()):
        assert np.array_equal(data.read(place, 0, LENGTHS[place]), states(row))
    writes.close()
    with pytest.raises(KeyError):
        writes.checksums([2])


def test_a_record_that_begins_again_is_written_last(data: TokenData) -> None:
    writes, may_go = TokenWrites(data), threading.Event()

    def late() -> np.ndarray:
        may_go.wait(10)
        return np.zeros((1, 5, WIDTH), np.float32)

    writes.put([2], 0, late)
    threading.Timer(0.2, may_go.set).start()
    writes.put([2], 0, lambda: states(2)[None])
    writes.settle()
    assert np.array_equal(data.read(0, 0, 5), states(2))
    assert writes.checksums([2]).tolist() == expected(2)
    writes.close()


def test_no_more_waits_in_memory_than_is_said(data: TokenData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_data, "WAITING_PIECES", 2)
    writes, may_go, made = TokenWrites(data), threading.Event(), list[int]()

    def piece() -> np.ndarray:
        may_go.wait(10)
        return states(7)[None]

    def put() -> None:
        for number in range(4):
            writes.put([7], CHECKED_ROWS, piece) if number else writes.put([7], 0, piece)
            made.append(number)

    putting = threading.Thread(target=put)
    putting.start()
    putting.join(0.3)
    assert made == [0, 1]
    may_go.set()
    putting.join()
    writes.settle()
    writes.close()


@pytest.mark.parametrize("pieces", [1, 40])
def test_a_disk_that_refuses_is_told_of_and_goes_on_being(
    data: TokenData, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    writes = TokenWrites(data)

    def write() -> None:
        for _ in range(pieces):
            writes.put([2], 0, lambda: states(2)[None])
        writes.settle()

    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            write()
    with pytest.raises(OSError, match="No space left"):
        writes.settle()
    writes.close()
