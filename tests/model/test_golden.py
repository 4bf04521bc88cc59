"""The model against numbers from the authors' own code, by both ways of computing it and from both kinds of file."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from genoconv.kernels.fftconv import fftconv
from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.inference import hidden_states
from genoconv.model.pretrained import load_model

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FIXTURES = ("tiny-d64", "tiny-1k")
SOURCES = ("tiny-d64", "tiny-1k", "tiny-d64/original")

# Largest absolute error in float32 (of a block: relative to its largest value, if that is above 1).
TOLERANCE = {"embed": 0.0, "block": 1e-5, "final": 1e-4, "mean": 2e-5, "logits": 3e-4, "next_logprob": 3e-4}
FILTER_TOLERANCE = 5e-6

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

States = Callable[[HyenaDNA, Tensor, int | None], Iterator[Tensor]]


def plain(model: HyenaDNA, ids: Tensor, filter_length: int | None) -> Iterator[Tensor]:
    with torch.no_grad():
        yield from model.states(ids, filter_length)


def streamed(model: HyenaDNA, ids: Tensor, filter_length: int | None) -> Iterator[Tensor]:
    layers = range(model.config.n_layer + 2)
    for _, hidden in hidden_states(model, ids, layers=layers, filter_length=filter_length):
        yield hidden


def on_a_gpu(model: HyenaDNA, ids: Tensor, filter_length: int | None) -> Iterator[Tensor]:
    for hidden in streamed(copy_on_gpu(model), ids.cuda(), filter_length):
        yield hidden.cpu()


@cache
def copy_on_gpu(model: HyenaDNA) -> HyenaDNA:
    return copy.deepcopy(model).cuda()


@cache
def model_of(source: str) -> HyenaDNA:
    return load_model(GOLDEN / source)


@cache
def expected_of(fixture: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / fixture / "expected.safetensors")


def expected_case(fixture: str, name: str) -> dict[str, Tensor]:
    whole = expected_of(fixture).items()
    return {key.removeprefix(f"{name}/"): tensor for key, tensor in whole if key.startswith(f"{name}/")}


@cache
def cases_of(fixture: str) -> dict[str, dict[str, Any]]:
    cases = json.loads((GOLDEN / fixture / "cases.json").read_text())["cases"]
    return {case["name"]: case for case in cases}


ALL_CASES = [(source, name) for source in SOURCES for name in cases_of(source.split("/")[0])]


def errors(
    model: HyenaDNA, states: States, expected: Mapping[str, Tensor], filter_length: int | None = None
) -> dict[str, float]:
    """Largest error of every expected tensor of a case; a block's relative to its largest value."""
    ids = expected["input_ids"].long()
    positions = expected["positions"].long()
    names = ["embed", *(f"block_{i}" for i in range(model.config.n_layer)), "final"]
    found: dict[str, Tensor] = {}
    for name, hidden in zip(names, states(model, ids.view(-1, ids.shape[-1]), filter_length), strict=True):
        found[name] = hidden[:, positions].clone()
    found["mean"] = hidden.mean(dim=1, dtype=torch.float64)
    with torch.no_grad():
        logits = model.head(hidden)
    found["logits"] = found["logits_tied"] = logits[:, positions]
    following = ids.view(-1, ids.shape[-1])[:, 1:, None]
    found["next_logprob"] = logits.log_softmax(-1)[:, :-1].gather(-1, following)
    result = {}
    for name, tensor in expected.items():
        if name not in found or not tensor.numel():
            continue
        scale = max(1.0, tensor.abs().max().item()) if name.startswith("block") else 1.0
        result[name] = (found[name].double().flatten() - tensor.double().flatten()).abs().max().item() / scale
    return result


def too_large(found: Mapping[str, float], *, tied: bool) -> dict[str, float]:
    """Those above tolerance; of the two kinds of logits, only the one that the model's head gives."""
    other = ("logits", "next_logprob") if tied else ("logits_tied",)
    kinds = {name: "block" if name.startswith("block") else name.removesuffix("_tied") for name in found}
    return {name: error for name, error in found.items() if name not in other and not error <= TOLERANCE[kinds[name]]}


def case_errors(source: str, name: str, states: States) -> dict[str, float]:
    fixture = source.split("/")[0]
    expected = expected_case(fixture, name)
    return errors(model_of(source), states, expected, cases_of(fixture)[name].get("filter_taps"))


@pytest.mark.parametrize(("source", "name"), ALL_CASES)
@pytest.mark.parametrize("states", [plain, streamed, pytest.param(on_a_gpu, marks=NEEDS_GPU)])
def test_case(source: str, name: str, states: States) -> None:
    found = case_errors(source, name, states)
    assert {"final", "mean"} <= found.keys()
    assert not too_large(found, tied=source == "tiny-d64/original")


@pytest.mark.parametrize("source", SOURCES)
def test_filters(source: str) -> None:
    expected = expected_of(source.split("/")[0])
    model = model_of(source)
    for layer, block in enumerate(model.stack):
        with torch.no_grad():
            taps = block.operator.long_filter(model.config.l_max).T  # (K, d)
        wanted = expected[f"filter/layer_{layer}"]
        assert (taps[expected["filter/positions"].long()] - wanted).abs().max() <= FILTER_TOLERANCE


@pytest.mark.parametrize("fixture", FIXTURES)
@pytest.mark.parametrize("states", [plain, streamed])
@pytest.mark.parametrize("name", ["len7", "len1024", "ext_len2050_K1026", "batch_pad_right"])
def test_float64_is_a_hundred_times_closer(fixture: str, name: str, states: States) -> None:
    model = load_model(GOLDEN / fixture).double()
    expected = expected_case(fixture, name)
    assert errors(model, states, expected)["final"] <= 1e-6


def swap_gates(monkeypatch: pytest.MonkeyPatch, model: HyenaDNA) -> None:
    def wrong(v: Tensor, taps: Tensor, skip: Tensor, *, in_gate: Tensor, out_gate: Tensor, check: bool) -> Tensor:
        return fftconv(v, taps, skip, in_gate=out_gate, out_gate=in_gate, check=check)

    monkeypatch.setattr("genoconv.model.operator.fftconv", wrong)


def erf_gelu(monkeypatch: pytest.MonkeyPatch, model: HyenaDNA) -> None:
    for block in model.stack:
        block.mlp.activation = nn.GELU()


def no_shift(monkeypatch: pytest.MonkeyPatch, model: HyenaDNA) -> None:
    for block in model.stack:
        block.operator.long_filter.shift = 0.0


def small_eps(monkeypatch: pytest.MonkeyPatch, model: HyenaDNA) -> None:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6


def reversed_short_filter(monkeypatch: pytest.MonkeyPatch, model: HyenaDNA) -> None:
    for block in model.stack:
        weight = block.operator.short_filter.weight
        weight.data = weight.data.flip(1)


def no_skip(monkeypatch: pytest.MonkeyPatch, model: HyenaDNA) -> None:
    for block in model.stack:
        block.operator.skip.data.zero_()


@pytest.mark.parametrize("plant", [swap_gates, erf_gelu, no_shift, small_eps, reversed_short_filter, no_skip])
@pytest.mark.parametrize("fixture", FIXTURES)
def test_planted_mistake_is_noticed(
    fixture: str, plant: Callable[[pytest.MonkeyPatch, HyenaDNA], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(GOLDEN / fixture)
    expected = expected_case(fixture, "len1024")
    assert not too_large(errors(model, plain, expected), tied=False)
    plant(monkeypatch, model)
    assert "final" in too_large(errors(model, plain, expected), tied=False)


def test_rebuilt_buffers_are_noticed() -> None:
    """The fixture's z, t and deltas are not what the formulas give: a loader must read them."""
    rebuilt = HyenaDNA(HyenaConfig(d_model=64, n_layer=2, d_inner=256, l_max=1026))
    state = model_of("tiny-d64").state_dict()
    kept = {name: t for name, t in state.items() if not name.endswith((".z", ".t", ".deltas"))}
    rebuilt.load_state_dict(kept, strict=False)
    expected = expected_case("tiny-d64", "len1024")
    assert "final" in too_large(errors(rebuilt.eval(), plain, expected), tied=False)
