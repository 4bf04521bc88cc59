"""Products with weights: the same numbers by oneDNN and by torch's own, for any number of positions."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from genoconv.model import products
from genoconv.model.products import BLOCK, HALF, Factor, Product, across, bfloat16_obstacle, by_onednn, onednn_works


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
        y = across(weight, x, common, by_onednn(weight))
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


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
@pytest.mark.parametrize("positions", [1, 64, 70, BLOCK, BLOCK + 1])
def test_product_in_half_precision(ways: None, positions: int, gelu: bool, pack: bool) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(24, 40), 3 * numbers(positions, 24)
    with torch.no_grad():
        y = Product(linear, gelu=gelu, pack=pack, half=True)(x)
        rounded = functional.linear(x.to(HALF).double(), linear.weight.to(HALF).double(), linear.bias.double())
    expected = functional.gelu(rounded, approximate="tanh") if gelu else rounded
    assert y.dtype == HALF
    assert y.shape == (positions, 40)
    assert (y - expected).abs().max() <= expected.abs().max() * (2**-8 if onednn_works() else 2**-6)


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("positions", [1, 30, 64])
def test_across_in_half_precision(ways: None, positions: int, common: bool) -> None:
    weight, x = numbers(40, 24), numbers(positions, 24)
    with torch.no_grad():
        y = across(weight.to(HALF), x, common, by_onednn(weight.to(HALF)))
    expected = weight.to(HALF).double() @ x.to(HALF).double().t()
    assert y.dtype == torch.float32
    assert y.shape == (40, positions)
    assert (y - expected).abs().max() <= expected.abs().max() * 2**-8


def test_few_shapes_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    if not onednn_works():
        pytest.skip("this torch has no oneDNN operators for float32")
    shapes = set[int]()
    real = products._fused

    def told(x: Tensor, by: Factor) -> Tensor:
        shapes.add(len(x))
        return real(x, by)

    monkeypatch.setattr(products, "_fused", told)
    product = Product(nn.Linear(8, 8), half=True)
    with torch.no_grad():
        assert all(len(product(numbers(positions, 8))) == positions for positions in range(1, BLOCK + 1))
    assert shapes == {64, 128, 192, 256}


@pytest.mark.parametrize(
    ("flags", "works", "told"),
    [("avx512bw avx512_bf16 sha_ni", True, ""), ("avx512bw", True, "avx512_bf16"), ("avx512_bf16", False, "oneDNN")],
)
def test_cpus_that_would_emulate_half_precision_are_told(
    flags: str, works: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    products._has_bfloat16.cache_clear()
    monkeypatch.setattr("pathlib.Path.read_text", lambda _: f"flags\t\t: fpu {flags}\n")
    monkeypatch.setattr(products, "onednn_works", lambda: works)
    obstacle = bfloat16_obstacle()
    products._has_bfloat16.cache_clear()
    assert bool(obstacle) == bool(told)
    assert told in obstacle
