"""The tiles of outer transforms, by GPU and by where rows start; no GPU, no Triton."""

from math import prod

import pytest

from genoconv.kernels.monarch.plan import LARGEST_OUTER, LARGEST_PAIR, LARGEST_SINGLE, ROWS, tile
from genoconv.kernels.monarch.ways import NARROW, WIDE, way

H100, ADA = 227 << 10, 99 << 10


@pytest.mark.parametrize("ragged", [False, True], ids=["aligned", "ragged"])
@pytest.mark.parametrize("shared", [H100, ADA], ids=["H100", "Ada"])
def test_every_plan_has_ways_that_divide_its_rows(shared: int, ragged: bool) -> None:
    heights = {tile(n) for n in range(2, LARGEST_SINGLE + 1)}
    found = [way(kind, height, shared, ragged=ragged) for kind in ("forth", "back") for height in heights]
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
