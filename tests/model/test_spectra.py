"""What is kept of the filters: reused, bounded, dropped when the model changes, and never wrong."""

import gc
import weakref

import pytest
import torch
from torch import Tensor

from genoconv.model import spectra, taps
from genoconv.model.config import HyenaConfig
from genoconv.model.filter import ImplicitFilter
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.inference import hidden_states
from genoconv.model.spectra import (
    CACHE_BYTES,
    MANY_ROWS,
    Kept,
    filter_bank,
    keeps,
    piece,
    round_length,
    spectra_bytes,
)
from genoconv.model.workers import Workers

CONFIG = HyenaConfig(d_model=40, n_layer=2, d_inner=16, l_max=700)


@pytest.fixture
def model() -> HyenaDNA:
    torch.manual_seed(0)
    made = HyenaDNA(CONFIG).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def bases(length: int, seed: int = 0, rows: int = 1) -> Tensor:
    return torch.randint(7, 12, (rows, length), generator=torch.Generator().manual_seed(seed))


def final(model: HyenaDNA, ids: Tensor, filter_length: int | None = None) -> Tensor:
    return next(iter(hidden_states(model, ids, filter_length=filter_length)))[1]


def plain(model: HyenaDNA, ids: Tensor, filter_length: int | None = None) -> Tensor:
    with torch.no_grad():
        *_, last = model.states(ids, filter_length)
    return last


def count_features(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the number of taps each time a filter's network is run."""
    runs: list[int] = []
    real = taps.make_features

    def counted(long_filter: ImplicitFilter, count: int, workers: Workers) -> Tensor:
        runs.append(count)
        return real(long_filter, count, workers)

    monkeypatch.setattr(spectra, "make_features", counted)
    return runs


def test_same_length_reuses_the_filters(model: HyenaDNA, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = count_features(monkeypatch)
    final(model, bases(500))
    assert len(runs) == CONFIG.n_layer
    final(model, bases(500, seed=1))
    final(model, bases(510))  # the same rounded length
    assert len(runs) == CONFIG.n_layer
    final(model, bases(200))
    assert len(runs) == 2 * CONFIG.n_layer


@pytest.mark.parametrize("budget", [0, 1 << 30], ids=["nothing", "spectra"])
@pytest.mark.parametrize("filter_length", [None, 33])
def test_what_is_kept_does_not_change_the_result(model: HyenaDNA, budget: int, filter_length: int | None) -> None:
    expected = plain(model, bases(1500), filter_length)
    filter_bank(model).budget = budget
    for _ in range(2):
        assert torch.allclose(final(model, bases(1500), filter_length), expected, atol=1e-4)
        assert (filter_bank(model).nbytes > 0) == (budget > 0)
    assert filter_bank(model).nbytes <= budget


def test_a_cpu_keeps_nothing_for_many_rows(model: HyenaDNA) -> None:
    for rows in (1, MANY_ROWS - 1, MANY_ROWS):
        filter_bank(model).clear()
        ids = bases(300, rows=rows)
        assert torch.allclose(final(model, ids), plain(model, ids), atol=1e-4)
        assert (filter_bank(model).nbytes > 0) == (rows < MANY_ROWS)


def test_filter_lengths_are_kept_apart(model: HyenaDNA) -> None:
    whole, cut = final(model, bases(650)).clone(), final(model, bases(650), 40).clone()
    assert not torch.allclose(whole, cut, atol=1e-3)
    assert torch.equal(whole, final(model, bases(650)))
    assert torch.equal(cut, final(model, bases(650), 40))


def test_the_budget_holds_over_many_lengths(model: HyenaDNA) -> None:
    bank = filter_bank(model)
    bank.budget = spectra_bytes(CONFIG, 500)
    for length in (*range(50, 1400, 100), 500, 650, 500, 100):
        final(model, bases(length))
        assert bank.nbytes <= bank.budget
    assert bank.nbytes > 0


def test_training_step_drops_what_was_kept(model: HyenaDNA) -> None:
    before = final(model, bases(300)).clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(bases(300)).log_softmax(-1)[..., 7].mean().backward()
    optimizer.step()
    after = final(model, bases(300))
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.allclose(after, plain(model, bases(300)), atol=1e-4)


@pytest.mark.parametrize("assign", [False, True])
def test_loading_weights_drops_what_was_kept(model: HyenaDNA, assign: bool) -> None:
    final(model, bases(300))
    torch.manual_seed(5)
    other = HyenaDNA(CONFIG)
    model.load_state_dict(other.state_dict(), assign=assign)
    assert torch.allclose(final(model, bases(300)), plain(other, bases(300)), atol=1e-4)


def test_banks_live_as_long_as_their_models() -> None:
    model = HyenaDNA(CONFIG)
    bank = weakref.ref(filter_bank(model))
    assert bank() is filter_bank(model)
    del model
    gc.collect()
    assert bank() is None


def test_rounded_lengths() -> None:
    for length in [*range(1, 3000), 32_768, 32_769, 1_000_000]:
        rounded = round_length(length)
        assert length <= rounded <= max(256, length * 1.25 + 1)
        assert round_length(rounded) == rounded
    assert len({round_length(length) for length in range(1025, 2049)}) == 4


def test_what_fits_is_kept() -> None:
    large = HyenaConfig(d_model=256, n_layer=8, d_inner=1024, l_max=1_000_002)
    assert keeps(large, 1, 2048)
    assert not keeps(large, 1, 4096)
    assert not keeps(large, MANY_ROWS, 1024)
    assert keeps(large, 1, 4096, budget=1 << 30)
    assert keeps(large, 1, 1_000_000, Kept(2000), device="cuda")
    assert spectra_bytes(large, 32_768) <= CACHE_BYTES["cuda"] < spectra_bytes(large, 160_000)


@pytest.mark.parametrize(
    ("channels", "most", "workers", "step"),
    [(256, 24, 2, 22), (256, 32, 2, 32), (256, 1000, 2, 128), (256, 1000, 1, 256), (256, 24, 16, 16), (12, 24, 16, 1)],
)
def test_workers_have_as_many_pieces(channels: int, most: int, workers: int, step: int) -> None:
    assert piece(channels, most, workers) == step
    assert step <= most
    assert -(-channels // step) % workers == 0 or step == 1
