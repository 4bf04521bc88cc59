"""The fast path: the plain model's numbers whatever the chunks, the batch and the padding; layers; memory."""

import copy
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from genoconv.errors import ModelError, UsageError
from genoconv.model import inference, sweeps
from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.inference import hidden_states, layer_indices
from genoconv.model.pretrained import load_model
from tests.model.test_golden import FIXTURES, GOLDEN, cases_of, expected_case

# Relative L2 error of the final states with products in bfloat16; measured: 5.3e-3 on golden models, whose weights were
# chosen so that every rounding matters, and at most 2.1e-3 on random ones of trained scale and on the built-in models.
BFLOAT16_TOLERANCE = 6e-3

CONFIG = HyenaConfig(d_model=12, n_layer=3, d_inner=40, l_max=400)


@pytest.fixture(scope="module")
def model() -> HyenaDNA:
    torch.manual_seed(0)
    made = HyenaDNA(CONFIG).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


def bases(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(7, 12, (batch, length), generator=torch.Generator().manual_seed(seed))


def states(model: HyenaDNA, ids: Tensor, layers: tuple[int, ...] = (-1,)) -> dict[int, Tensor]:
    return {layer: hidden.clone() for layer, hidden in hidden_states(model, ids, layers=layers)}


@pytest.fixture(params=[1, 2, 5], ids=["one thread", "two threads", "five threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("chunk", [16, 17, 100, 1 << 20])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 2), (3, 3), (2, 16), (5, 33), (1, 1000), (3, 401), (40, 5)])
def test_equal_to_the_plain_model(
    model: HyenaDNA, threads: int, batch: int, length: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(inference._CHUNK_BYTES, "cpu", chunk * 40 * 8)
    ids = bases(batch, length)
    double = copy.deepcopy(model).double()
    found = states(double, ids, tuple(range(5)))
    with torch.no_grad():
        for layer, expected in enumerate(double.states(ids)):
            assert torch.allclose(found[layer], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_batch_mates_and_padding_do_not_matter(model: HyenaDNA, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 600, (6,), generator=generator).tolist()
    ids = torch.full((6, 600), 4)
    for row, length in enumerate(lengths):
        ids[row, :length] = bases(1, length, seed=100 * seed + row)[0]
    together = states(model, ids)[4]
    for row, length in enumerate(lengths):
        alone = states(model, ids[row : row + 1, :length])[4]
        assert (together[row, :length] - alone[0]).abs().max() <= 1e-5


def test_layers_come_in_order_and_once(model: HyenaDNA) -> None:
    assert [layer for layer, _ in hidden_states(model, bases(1, 9), layers=(-1, 2, 0, 2, -3))] == [0, 2, 4]


def test_no_block_beyond_the_last_layer_is_run(model: HyenaDNA, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    real = sweeps.transform

    def counted(*arguments: object) -> None:
        runs.append(1)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(inference, "transform", counted)
    states(model, bases(1, 9), (0,))
    assert not runs
    states(model, bases(1, 9), (0, 1))
    assert len(runs) == 1


def test_inference_mode_of_the_caller(model: HyenaDNA, threads: int) -> None:
    expected = states(model, bases(2, 700))[4]
    with torch.inference_mode():
        assert torch.equal(states(model, bases(2, 700))[4], expected)


def test_a_consumer_may_stop_early(model: HyenaDNA, threads: int) -> None:
    before = threading.active_count()
    for _ in hidden_states(model, bases(1, 50), layers=(1, 2, 3)):
        break
    gc.collect()
    assert threading.active_count() == before


def test_layer_numbers() -> None:
    assert layer_indices(CONFIG, (0, 4, -1, -5)) == (0, 4, 4, 0)
    for layer in (5, -6):
        with pytest.raises(UsageError, match=f"no layer {layer}"):
            layer_indices(CONFIG, (layer,))


def test_faults_are_told_before_anything_is_computed(model: HyenaDNA) -> None:
    with pytest.raises(UsageError, match="no layer 7"):
        hidden_states(model, bases(1, 9), layers=(7,))
    with pytest.raises(UsageError, match="at least 1"):
        hidden_states(model, bases(1, 9), filter_length=0)
    with pytest.raises(ModelError, match="float32"):
        hidden_states(HyenaDNA(CONFIG).half(), bases(1, 9))


def test_nothing_in_nothing_out(model: HyenaDNA) -> None:
    assert states(model, bases(1, 0))[4].shape == (1, 0, 12)
    assert states(model, bases(0, 7), (0, 2))[2].shape == (0, 7, 12)


def test_no_gradients_and_no_trace_in_the_callers_mode(model: HyenaDNA) -> None:
    for _, hidden in hidden_states(model, bases(1, 9), layers=(0, 1, -1)):
        assert not hidden.requires_grad
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("length", [1300, 512, 777])
def test_float32_in_long_chunks(model: HyenaDNA, threads: int, batch: int, length: int) -> None:
    ids = bases(batch, length)
    with torch.no_grad():
        *_, expected = copy.deepcopy(model).double().states(ids)
        *_, usual = model.states(ids)
    assert (states(model, ids)[4] - expected).norm() <= 1.5 * (usual - expected).norm()


MEASURE = """
import torch
from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.inference import fixed_bytes, hidden_states, memory_per_base
torch.set_num_threads(1)
model = HyenaDNA(HyenaConfig(d_model=128, n_layer=1, d_inner=128, l_max={l_max})).eval()
ids = torch.randint(7, 11, (1, {length}))
def memory(name):  # ru_maxrss would not do: it starts with the peak of the process that started this one
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
before = memory("VmRSS")
for _, hidden in hidden_states(model, ids):
    pass
added = memory("VmHWM") - before
print(added / (fixed_bytes(model.config, {length}) + {length} * memory_per_base(model.config)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("l_max", "length"), [(1026, 200_000), (60_000, 60_000)])
def test_memory_is_as_predicted(l_max: int, length: int) -> None:
    program = MEASURE.format(l_max=l_max, length=length)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0.75 < float(done.stdout) < 1.2


@pytest.fixture
def rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision is that of a CPU, also where other tests have Triton's interpreter compute."""
    monkeypatch.setattr("genoconv.model.half.interpreted", lambda: False)


def halves(model: HyenaDNA, ids: Tensor, layers: tuple[int, ...] = (-1,), taps: int | None = None) -> dict[int, Tensor]:
    found = hidden_states(model, ids, layers=layers, filter_length=taps, precision="half")
    return {layer: hidden.clone() for layer, hidden in found}


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("fixture", FIXTURES)
def test_half_precision_of_a_cpu_on_golden_cases(fixture: str, rounded: None, threads: int) -> None:
    model = load_model(GOLDEN / fixture)
    for name, case in cases_of(fixture).items():
        expected = expected_case(fixture, name)
        ids = expected["input_ids"].long().view(-1, expected["input_ids"].shape[-1])
        (final,) = halves(model, ids, taps=case.get("filter_taps")).values()
        wrong = error(final[:, expected["positions"].long()].flatten(), expected["final"].flatten())
        assert 0 < wrong <= BFLOAT16_TOLERANCE, name
        mean = final.double().mean(1).flatten()
        assert torch.cosine_similarity(mean, expected["mean"].double().flatten(), dim=0) >= 0.99999, name


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 37), (2, 700), (1, 1500)])
def test_half_precision_of_a_cpu_is_near_float32(batch: int, length: int, rounded: None, threads: int) -> None:
    torch.manual_seed(2)
    model = HyenaDNA(HyenaConfig(d_model=64, n_layer=2, d_inner=256, l_max=1026)).eval()
    torch.nn.init.normal_(model.embedding.weight)
    ids = bases(batch, length)
    wanted, found = states(model, ids, (0, 1, 2, 3)), halves(model, ids, (0, 1, 2, 3))
    assert torch.equal(found[0], wanted[0])
    assert all(found[layer].dtype == torch.float32 and error(found[layer], wanted[layer]) <= 3e-3 for layer in wanted)
    assert error(found[3], wanted[3]) > 1e-5


def test_float32_stays_float32_where_half_precision_was_asked_for_before(model: HyenaDNA, rounded: None) -> None:
    ids = bases(2, 600)
    before = states(model, ids)[4]
    halves(model, ids)
    assert torch.equal(states(model, ids)[4], before)
