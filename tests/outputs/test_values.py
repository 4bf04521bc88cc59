"""Numbers that no file may hold are found, in every type and layout."""

import numpy as np
import pytest

from genoconv.outputs.values import all_finite


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", "<f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found(dtype: str, bad: float) -> None:
    values = np.random.default_rng(0).standard_normal((5, 8)).astype(dtype)
    values[0, 0], values[1, 1], values[2, 2] = 65504, -65504, -0.0
    assert all_finite(values)
    assert all_finite(values[:0])
    values[3, 5] = bad
    assert not all_finite(values)
    assert not all_finite(values[:, 1::2])
    assert all_finite(values[:, ::2])
