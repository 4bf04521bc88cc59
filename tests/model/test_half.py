"""Half precision against float32 and the golden outputs; without a GPU in Triton's interpreter."""

import os

import pytest
import torch
from torch import Tensor

from genoconv.kernels import triton_path
from genoconv.kernels.monarch.plan import Plan
from genoconv.model import half
from genoconv.model.config import HyenaConfig
from genoconv.model.half import HalfPrecisionOverflowError, half_weights, obstacle
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.inference import hidden_states
from genoconv.model.pretrained import load_model
from genoconv.model.spectra import ALL, filter_bank
from genoconv.model.workers import Workers
from tests.model.test_golden import GOLDEN, cases_of, expected_case

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # read once, when Triton is imported
pytest.importorskip("triton")

DEVICE = torch.device("cuda" if GPU else "cpu")
# Relative L2 error of hidden states; mean-pooled they point the same way.
TOLERANCE = 3e-3
COSINE = 0.99999


def small() -> HyenaDNA:
    torch.manual_seed(1)
    model = HyenaDNA(HyenaConfig(d_model=16, n_layer=2, d_inner=40, l_max=64)).to(DEVICE).eval()
    torch.nn.init.normal_(model.embedding.weight)
    return model


def tokens(B: int, L: int) -> Tensor:
    return torch.randint(7, 12, (B, L), device=DEVICE)


def states(model: HyenaDNA, ids: Tensor, layers: list[int], precision: str = "half") -> dict[int, Tensor]:
    found = hidden_states(model, ids, layers=layers, precision="half" if precision == "half" else "high")
    return {layer: hidden.clone() for layer, hidden in found}


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize(("B", "L"), [(1, 1), (2, 37), (3, 72)])
def test_every_layer(B: int, L: int) -> None:
    model, ids = small(), tokens(B, L)
    wanted, found = states(model, ids, [0, 1, 2, 3], "high"), states(model, ids, [0, 1, 2, 3])
    assert list(found) == [0, 1, 2, 3]
    assert all(found[layer].shape == (B, L, 16) and error(found[layer], wanted[layer]) <= TOLERANCE for layer in found)


@pytest.mark.parametrize("layers", [[-1], [0], [1], [2], [1, 3], [2, 3]])
def test_layers_asked_for_alone_are_those_of_all(layers: list[int]) -> None:
    model, ids = small(), tokens(2, 21)
    everything, found = states(model, ids, [0, 1, 2, 3]), states(model, ids, layers)
    assert list(found) == [layer % 4 for layer in layers]
    assert all(error(hidden, everything[layer]) <= 1e-6 for layer, hidden in found.items())


@pytest.mark.skipif(not GPU, reason="takes the interpreter minutes")
@pytest.mark.parametrize("fixture", ["tiny-d64", "tiny-1k"])
def test_golden_outputs(fixture: str) -> None:
    model = load_model(GOLDEN / fixture, device=DEVICE)
    for name, case in cases_of(fixture).items():
        expected = expected_case(fixture, name)
        ids = expected["input_ids"].long().to(DEVICE)
        ids = ids.view(-1, ids.shape[-1])
        taps = case.get("filter_taps")
        ((_, final),) = hidden_states(model, ids, filter_length=taps, precision="half")
        at = final[:, expected["positions"].long().to(DEVICE)].cpu()
        assert error(at.flatten(), expected["final"].flatten()) <= TOLERANCE, name
        mean = final.double().mean(1).cpu().flatten()
        assert torch.cosine_similarity(mean, expected["mean"].double().flatten(), dim=0) >= COSINE, name


def test_chunks_of_positions_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = small(), tokens(2, 30)
    (whole,) = states(model, ids, [-1]).values()
    monkeypatch.setattr(half, "_CHUNK", 24)
    (found,) = states(model, ids, [-1]).values()
    assert error(found, whole) <= 1e-6


def test_results_that_cannot_be_written_over_the_signals_are_taken_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton_path, "choose", lambda *_: Plan("direct"))
    model, ids = small(), tokens(3, 20)
    assert error(states(model, ids, [-1])[3], states(model, ids, [-1], "high")[3]) <= TOLERANCE
    bank = filter_bank(model)
    v, gate = (torch.randn(16, 72, dtype=torch.float16, device=DEVICE).view(16, 3, 24).transpose(0, 1) for _ in "vg")
    before = v.clone()
    with Workers(DEVICE, count=1) as workers:
        found = bank.convolve(model.config, 1, model.stack[0].operator, v, gate, ALL, workers)
    assert torch.equal(v, before)
    assert found.stride() == v.stride()
    assert found.isfinite().all()


def test_filters_that_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = small(), tokens(2, 30)
    (kept,) = states(model, ids, [-1]).values()
    filter_bank(model).budget = 0
    (found,) = states(model, ids, [-1]).values()
    assert error(found, kept) <= TOLERANCE


def test_padding_changes_no_base() -> None:
    model, ids = small(), tokens(1, 19)
    (alone,) = states(model, ids, [-1]).values()
    padded = torch.cat([ids, ids.new_full((1, 30), 4)], dim=1)
    (found,) = states(model, padded, [-1]).values()
    assert error(found[:, :19], alone) <= TOLERANCE


def test_changed_weights_are_packed_again() -> None:
    model, ids = small(), tokens(1, 16)
    before = half_weights(model)
    assert half_weights(model) is before
    (old,) = states(model, ids, [-1]).values()
    with torch.no_grad():
        model.stack[0].operator.out_proj.weight.normal_()
    (new,) = states(model, ids, [-1]).values()
    assert error(new, old) > 10 * TOLERANCE
    assert error(new, states(model, ids, [-1], "high")[3]) <= TOLERANCE


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
def test_overflow_names_block_and_channel() -> None:
    model, ids = small(), tokens(2, 24)
    with torch.no_grad():
        model.stack[1].operator.skip[5] = 1e9
    with pytest.raises(HalfPrecisionOverflowError, match="block 2: the convolution of channel 5"):
        states(model, ids, [-1])
    assert states(model, ids, [1])[1].isfinite().all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_whether_numbers_overflowed_can_be_looked_at_later() -> None:
    model, ids = small(), tokens(2, 24)
    calm, overflowed = list[Tensor](), list[Tensor]()
    for _ in hidden_states(model, ids, layers=(1, -1), precision="half", unchecked=calm):
        pass
    with torch.no_grad():
        model.stack[1].operator.skip[5] = 1e9
    for _ in hidden_states(model, ids, layers=(1, -1), precision="half", unchecked=overflowed):
        pass
    assert calm
    assert not any(bad.any() for bad in calm)
    assert any(bad.any() for bad in overflowed)


def test_obstacles() -> None:
    device = torch.device("cpu")
    assert "multiple of 8" in obstacle(HyenaConfig(d_model=20, n_layer=1, d_inner=40, l_max=64), device)
    assert "256 channels" in obstacle(HyenaConfig(d_model=512, n_layer=1, d_inner=40, l_max=64), device)
    assert "16777216" in obstacle(small().config, DEVICE, 16_777_217)
