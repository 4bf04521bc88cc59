"""Where records and their checksums lie in a per-nucleotide file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genoconv.outputs.token_layout import CHECKED_ROWS, TokenLayout

ROWS = np.array([2, 3, 7, 9])
LENGTHS = np.array([5, 2 * CHECKED_ROWS, 0, CHECKED_ROWS + 1])


def layout(first_byte: int = 4096) -> TokenLayout:
    return TokenLayout(ROWS, LENGTHS, 3, "f2", first_byte)


def test_records_lie_one_behind_the_other() -> None:
    held = layout()
    assert held.row_bytes == 6
    assert held.starts.tolist() == [0, 5, 8197, 8197, 12294]
    assert held.end_byte == 4096 + 12294 * 6
    assert held.checks.tolist() == [0, 1, 3, 3, 5]
    assert held.edges().tolist() == [0, 5, 4101, 8197, 12293, 12294]


@given(st.permutations(range(4)), st.integers(0, 4))
def test_checksums_of_some_records(order: list[int], count: int) -> None:
    held = layout()
    expected = [number for place in order[:count] for number in range(held.checks[place], held.checks[place + 1])]
    assert held.stretches(ROWS[order[:count]]).tolist() == expected


@pytest.mark.parametrize("row", [0, 4, 10])
def test_a_row_that_is_not_there(row: int) -> None:
    with pytest.raises(KeyError):
        layout().stretches(np.array([2, row]))


def test_a_layout_comes_back_from_a_file_and_has_a_name_of_its_own(tmp_path: Path) -> None:
    held = layout()
    held.save(tmp_path / "layout.npz")
    found = TokenLayout.load(tmp_path / "layout.npz")
    assert (found.rows.tolist(), found.lengths.tolist()) == (ROWS.tolist(), LENGTHS.tolist())
    assert (found.width, found.dtype, found.first_byte) == (3, "f2", 4096)
    others = [
        layout(8192),
        TokenLayout(ROWS, LENGTHS, 3, "f4", 4096),
        TokenLayout(ROWS, LENGTHS + 1, 3, "f2", 4096),
        TokenLayout(ROWS + 1, LENGTHS, 3, "f2", 4096),
    ]
    assert len({held.key, found.key, *(other.key for other in others)}) == 5


def test_no_records() -> None:
    nothing = np.empty(0, dtype=np.int64)
    held = TokenLayout(nothing, nothing, 3, "f2", 0)
    assert held.edges().tolist() == [0]
    assert held.stretches(nothing).tolist() == []
