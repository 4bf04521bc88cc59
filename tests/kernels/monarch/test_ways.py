"""The tiles of outer transforms, by GPU and by where rows start; no GPU, no Triton."""

from math import prod

import pytest

from genoconv.kernels.monarch.plan import LARGEST_OUTER, LARGEST_PAIR, LARGEST_SINGLE, ROWS, tile
from genoconv.kernels.monarch.ways import NARROW, UNGATED, WIDE, way

H100, ADA = 227 << 10, 99 << 10


@pytest.mark.parametrize("ragged", [False, True], ids=["aligned", "ragged"])
@pytest.mark.parametrize("shared", [H100, ADA], ids=["H100", "Ada"])
def test_every_plan_has_ways_that_divide_its_rows(shared: int, ragged: bool) -> None:
    heights = {tile(n) for n in range(2, LARGEST_SINGLE + 1)}
    found = [way(kind, height, shared, ragged=ragged) for kind in ("forth", "back") for height in heights]
    found += [way(kind, n, shared, ragged=ragged, gated=False) for kind in ("forth", "back") for n in heights]
    middles = [height for height in heights if height <= LARGEST_OUTER]
    found += [way(kind, height, shared) for kind in ("middle forth", "middle back") for height in middles]
    pairs = prod(LARGEST_PAIR) // 2, prod(LARGEST_PAIR)
    found += [way(kind, height, shared) for kind in ("pair forth", "pair back") for height in pairs]
    assert all(prod(row) % each.columns == 0 for each in found for row in ROWS)


def test_wide_tiles_are_for_much_shared_memory_and_aligned_rows() -> None:
    assert way("forth", 64, H100) == WIDE["forth"][64]
    assert way("forth", 64, H100, ragged=True) == NARROW["forth"][64]
    assert way("forth", 128, H100, ragged=True) == WIDE["forth"][128]
    assert way("forth", 128, ADA) == way("forth", 128, ADA, ragged=True) == NARROW["forth"][128]


def test_signals_without_gates_have_ways_of_their_own_where_tiles_are_wide() -> None:
    assert way("forth", 16, H100, gated=False) == UNGATED["forth"][16] != WIDE["forth"][16]
    assert way("back", 64, H100, gated=False) == WIDE["back"][64]
    assert way("middle forth", 16, H100, gated=False) == WIDE["middle forth"][16]
    assert way("forth", 16, H100, ragged=True, gated=False) == NARROW["forth"][16]
    assert way("forth", 16, ADA, gated=False) == NARROW["forth"][16]
