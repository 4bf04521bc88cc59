"""Products with weights: the same numbers by oneDNN and by torch's own, for any number of positions."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from genoconv.model.products import BLOCK, Product, across, onednn_works


@pytest.fixture(params=[True, False], ids=["as this torch can", "without oneDNN"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    onednn_works.cache_clear()
    if not request.param:
        monkeypatch.setattr(torch.ops, "mkldnn", object())
    yield
    onednn_works.cache_clear()


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("positions", [1, 7, BLOCK, BLOCK + 1])
def test_product(ways: None, positions: int, dtype: torch.dtype, gelu: bool, pack: bool) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(24, 40).to(dtype), 3 * numbers(positions, 24).to(dtype)
    with torch.no_grad():
        y = Product(linear, gelu=gelu, pack=pack)(x)
        expected = functional.linear(x.double(), linear.weight.double(), linear.bias.double())
    if gelu:
        expected = functional.gelu(expected, approximate="tanh")
    assert y.dtype == dtype
    assert (y - expected).abs().max() <= (2e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("positions", [1, 30])
def test_across(ways: None, positions: int, common: bool) -> None:
    weight, x = numbers(40, 24), numbers(positions, 24)
    with torch.no_grad():
        y = across(weight, x, common=common)
    assert y.is_contiguous()
    assert (y - weight.double() @ x.double().t()).abs().max() <= 1e-5


def test_gelu_of_large_numbers(ways: None) -> None:
    linear = nn.Linear(1, 2, bias=True)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[-1e4], [1e4]]))
        linear.bias.zero_()
        y = Product(linear, gelu=True)(torch.ones(BLOCK, 1))
    assert y[0].tolist() == [0.0, 1e4]


def test_operators_that_compute_something_else_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    onednn_works.cache_clear()

    class Wrong:
        def _reorder_linear_weight(self, weight: Tensor, batch: int) -> Tensor:
            return weight

        def _linear_pointwise(self, x: Tensor, weight: Tensor, bias: Tensor, *_: object) -> Tensor:
            return functional.linear(x, weight) + 1e-3

    monkeypatch.setattr(torch.ops, "mkldnn", Wrong())
    assert not onednn_works()
    onednn_works.cache_clear()


def test_onednn_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    if not onednn_works():
        pytest.skip("this torch has no oneDNN operators for float32")
    monkeypatch.setattr(functional, "linear", None)
    with torch.no_grad():
        assert Product(nn.Linear(8, 8))(numbers(BLOCK, 8)).shape == (BLOCK, 8)
