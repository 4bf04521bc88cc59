"""The short filter against torch's own convolution, and how many taps of the long one count."""

import pytest
import torch
from torch.nn import functional

from genoconv.model.operator import ShortFilter, count_taps


@pytest.mark.parametrize("length", [1, 2, 3, 50])
def test_short_filter_is_a_causal_depthwise_convolution(length: int) -> None:
    short = ShortFilter(6).double()
    u = torch.randn(2, 6, length, dtype=torch.float64)
    expected = functional.conv1d(u, short.weight[:, None], short.bias, padding=2, groups=6)[..., :length]
    assert torch.allclose(short(u), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("l_max", "length", "filter_length", "taps"),
    [(10, 5, None, 5), (10, 20, None, 10), (10, 20, 7, 7), (10, 5, 7, 5), (10, 20, 30, 10)],
)
def test_count_taps(l_max: int, length: int, filter_length: int | None, taps: int) -> None:
    assert count_taps(l_max, length, filter_length) == taps
