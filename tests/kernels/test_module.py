"""The layer: its numbers, its gradients, and spectra that are kept just as long as the filters stay what they are."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from genoconv.kernels import fftconv as door
from genoconv.kernels import module, reference
from genoconv.kernels.module import LongConvolution


def signals(B: int, H: int, L: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(L)
    return {name: torch.randn(B, H, L, generator=generator) for name in ("u", "in_gate", "out_gate")}


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The signals (B, L) for which filters have been transformed so far."""
    seen: list[tuple[int, ...]] = []
    real = door.prepare

    def counted(taps: Tensor, length: int, **options: Any) -> Any:
        seen.append((options["batch"], length))
        return real(taps, length, **options)

    monkeypatch.setattr(module, "prepare", counted)
    return seen


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("gates", [(), ("in_gate",), ("in_gate", "out_gate")], ids=str)
def test_numbers(skip: bool, gates: tuple[str, ...]) -> None:
    layer = LongConvolution(3, 40, skip=skip)
    case = {name: tensor for name, tensor in signals(2, 3, 100).items() if name == "u" or name in gates}
    expected = reference.fftconv(taps=layer.taps, skip=layer.skip, **case)
    with torch.no_grad():
        result = layer(**case)
    assert torch.allclose(result.double(), expected, atol=1e-5)
    assert torch.allclose(layer(**case).double(), expected, atol=1e-5)


def test_gradients_reach_the_parameters_and_the_signals() -> None:
    layer, case = LongConvolution(3, 40), signals(2, 3, 100)
    exact: dict[str, Any] = {
        name: tensor.detach().double().requires_grad_() for name, tensor in layer.named_parameters()
    }
    loss = reference.fftconv(**case, **exact).square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    case["u"].requires_grad_()
    layer(**case).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad.double(), exact[name].grad, rtol=1e-4, atol=1e-2), name
    assert case["u"].grad is not None


def test_filters_are_transformed_once_for_each_shape(prepared: list[tuple[int, ...]]) -> None:
    layer = LongConvolution(2, 30).eval().requires_grad_(False)
    for length in (50, 60, 50, 60, 50):
        layer(signals(1, 2, length)["u"])
    layer(signals(3, 2, 50)["u"])
    assert prepared == [(1, 50), (1, 60), (3, 50)]
    for length in range(100, 100 + module._KEPT):
        layer(signals(1, 2, length)["u"])
    layer(signals(1, 2, 50)["u"])
    assert prepared[-1] == (1, 50), "the oldest went"


@pytest.mark.parametrize("change", ["in_place", "loaded", "replaced", "dtype", "trained", "forgotten"])
def test_changed_filters_are_transformed_again(change: str, prepared: list[tuple[int, ...]]) -> None:
    layer = LongConvolution(2, 30).eval()
    u = signals(1, 2, 50)["u"]
    with torch.no_grad():
        layer(u)
        if change == "in_place":
            layer.taps.mul_(2.0)
        elif change == "loaded":
            layer.load_state_dict({name: 3.0 * tensor for name, tensor in layer.state_dict().items()})
        elif change == "replaced":
            layer.taps = torch.nn.Parameter(torch.ones(2, 30))
        elif change == "dtype":
            layer.double()
            u = u.double()
        elif change == "trained":
            layer.train().eval()
        else:
            layer.taps.data = torch.ones(2, 30)
            layer.forget()
        result = layer(u)
    assert len(prepared) == 2
    assert torch.allclose(result.double(), reference.fftconv(u, layer.taps, layer.skip), atol=1e-5)


def test_training_keeps_nothing_and_steps_count(prepared: list[tuple[int, ...]]) -> None:
    layer, u = LongConvolution(2, 30), signals(1, 2, 50)["u"]
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(u).square().mean().backward()
    assert not prepared
    with torch.no_grad():
        before = layer(u)
        optimiser.step()
        assert not torch.allclose(before, layer(u))
    assert len(prepared) == 2


def test_copies_and_pickles_go_without_spectra(prepared: list[tuple[int, ...]]) -> None:
    layer, u = LongConvolution(2, 30).eval(), signals(1, 2, 50)["u"]
    with torch.no_grad():
        expected = layer(u)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert not other._spectra
            assert torch.equal(other(u), expected)
    assert len(prepared) == 3
    assert list(layer.state_dict()) == ["taps", "skip"]


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least one"):
        LongConvolution(0, 5)
    with pytest.raises(ValueError, match="at least one"):
        LongConvolution(5, 0)
    with pytest.raises(ValueError, match="no backend"):
        LongConvolution(2, 3, backend="abacus")(torch.zeros(1, 2, 5))
    assert "channels=2, taps=3" in str(LongConvolution(2, 3))
    assert LongConvolution(2, 3)(torch.zeros(0, 2, 5)).shape == (0, 2, 5)
