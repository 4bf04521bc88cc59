"""Products that change the layout, against torch's own, forwards and backwards."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from genoconv.model.projections import rows_of, to_channels, to_positions

Product = Callable[[Tensor, Tensor, Tensor], Tensor]


def channels_by_torch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.linear(x, weight, bias).transpose(1, 2)


def positions_by_torch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.linear(x.transpose(1, 2), weight, bias)


@pytest.mark.parametrize(
    ("product", "by_torch", "shape"),
    [(to_channels, channels_by_torch, (3, 7, 5)), (to_positions, positions_by_torch, (3, 5, 7))],
)
def test_product_and_gradients(product: Product, by_torch: Product, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    operands = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in (shape, (4, 5), (4,))]
    found, expected = product(*operands), by_torch(*operands)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous()
    towards = torch.randn(expected.shape, dtype=torch.float64)
    for one, two in zip(
        torch.autograd.grad(found, operands, towards), torch.autograd.grad(expected, operands, towards), strict=True
    ):
        torch.testing.assert_close(one, two)
        assert one.is_contiguous()


@pytest.mark.parametrize(("product", "shape"), [(to_channels, (3, 7, 5)), (to_positions, (3, 5, 7))])
def test_under_autocast_products_are_half_and_gradients_those_of_the_weights(
    product: Product, shape: tuple[int, ...]
) -> None:
    operands = [torch.randn(size, requires_grad=True) for size in (shape, (4, 5), (4,))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = product(*operands)
    assert found.dtype == torch.bfloat16
    found.float().sum().backward()  # type: ignore[no-untyped-call]
    assert all(operand.grad is not None and operand.grad.dtype == torch.float32 for operand in operands)


def test_rows_and_their_gradients() -> None:
    weight = torch.randn(16, 5, dtype=torch.float64, requires_grad=True)
    ids = torch.randint(0, 12, (3, 40))
    found, expected = rows_of(weight, ids), functional.embedding(ids, weight)
    assert torch.equal(found, expected)
    towards = torch.randn_like(expected)
    (one,) = torch.autograd.grad(found, weight, towards)
    (two,) = torch.autograd.grad(expected, weight, towards)
    torch.testing.assert_close(one, two)
    assert not one[12:].any()
