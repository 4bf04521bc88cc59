"""Recordings of the passes over a shape: made when it comes again, kept within a budget, and never wrong."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from genoconv.model import graphs, half
from genoconv.model.config import HyenaConfig
from genoconv.model.graphs import USES_BEFORE, USES_BEFORE_AGAIN, Shelf, States
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.inference import hidden_states
from genoconv.model.spectra import filter_bank

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # read once, when Triton is imported
pytest.importorskip("triton")

DEVICE = torch.device("cuda" if GPU else "cpu")
NEEDS_GPU = pytest.mark.skipif(not GPU, reason="needs a CUDA device")


@dataclass
class Fake:
    """Something that takes memory and reads what others hold."""

    nbytes: int = 10
    reads: list[object] = field(default_factory=list)


def test_a_shape_is_due_once_when_it_comes_again() -> None:
    shelf = Shelf[Fake]()
    assert [shelf.due("a") for _ in range(USES_BEFORE + 3)] == [False] * USES_BEFORE + [True, False, False]
    assert [shelf.due("b") for _ in range(USES_BEFORE + 1)] == [False] * USES_BEFORE + [True]


def test_without_a_budget_no_shape_is_due() -> None:
    shelf = Shelf[Fake](budget=0)
    assert not any(shelf.due("a") for _ in range(10))


def test_shapes_that_came_once_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_COUNTED", 3)
    shelf = Shelf[Fake]()
    for shape in range(50):
        shelf.due(shape)
    assert len(shelf._left) == 3
    assert [shelf.due(49) for _ in range(USES_BEFORE)] == [False] * (USES_BEFORE - 1) + [True]


def test_the_last_used_stay_within_the_budget() -> None:
    shelf, kept = Shelf[Fake](budget=30), {name: Fake() for name in "abcd"}
    for name in "abc":
        shelf.keep(name, kept[name])
    assert shelf.find("a") is kept["a"]
    shelf.keep("d", kept["d"])
    assert (shelf.find("b"), shelf.nbytes, len(shelf)) == (None, 30, 3)
    shelf.keep("large", Fake(25))
    assert len(shelf) == 1
    shelf.keep("too large", Fake(31))
    assert shelf.find("too large") is None
    assert shelf.nbytes <= shelf.budget


def test_what_was_dropped_may_come_back() -> None:
    shelf, spectrum = Shelf[Fake](), object()
    for _ in range(USES_BEFORE + 1):
        shelf.due("a")
    shelf.keep("a", Fake(reads=[spectrum]))
    shelf.keep("b", Fake(reads=[object()]))
    shelf.drop(spectrum)
    assert shelf.find("a") is None
    assert shelf.find("b") is not None
    assert [shelf.due("a") for _ in range(USES_BEFORE_AGAIN + 1)] == [False] * USES_BEFORE_AGAIN + [True]
    shelf.clear()
    assert (len(shelf), shelf.nbytes) == (0, 0)


def test_shapes_that_take_turns_are_not_recorded_over_and_over() -> None:
    shelf, made = Shelf[Fake](budget=30), 0
    for _ in range(200):
        for shape in range(6):
            if shelf.find(shape) is None and shelf.due(shape):
                shelf.keep(shape, Fake())
                made += 1
    assert made <= 6 + 6 * 200 // USES_BEFORE_AGAIN


def small() -> HyenaDNA:
    torch.manual_seed(1)
    model = HyenaDNA(HyenaConfig(d_model=16, n_layer=2, d_inner=40, l_max=64)).to(DEVICE).eval()
    torch.nn.init.normal_(model.embedding.weight)
    return model


def tokens(B: int, L: int, seed: int = 0) -> Tensor:
    return torch.randint(7, 12, (B, L), generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def final(model: HyenaDNA, ids: Tensor, layers: tuple[int, ...] = (-1,)) -> list[Tensor]:
    return [hidden.clone() for _, hidden in hidden_states(model, ids, layers=layers, precision="half")]


class Pretended:
    """A recording that computes once more instead."""

    made = 0

    def __init__(self, passes: Callable[[Tensor], Iterator[States]], reads: list[object]) -> None:
        self.nbytes, self.reads, self.busy = 10, reads, False
        self._passes, self.replays = passes, 0
        Pretended.made += 1

    def replay(self, ids: Tensor) -> Iterator[States]:
        """As a recording."""
        self.replays += 1
        return self._passes(ids)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> type[Pretended]:
    def recorded(
        passes: Callable[[Tensor], Iterator[States]], ids: Tensor, *, count: int, reads: list[object]
    ) -> object:
        assert count == len(list(passes(ids)))
        return Pretended(passes, reads)

    Pretended.made = 0
    monkeypatch.setattr(half, "_recordable", lambda ids: True)
    monkeypatch.setattr(half, "recorded", recorded)
    return Pretended


def test_the_third_batch_of_a_shape_is_recorded(pretended: type[Pretended]) -> None:
    model, ids = small(), tokens(2, 13)
    found = [final(model, ids)[0] for _ in range(5)]
    assert pretended.made == 1
    (recording,) = filter_bank(model).graphs._held.values()
    assert isinstance(recording, Pretended)
    assert recording.replays == 3
    assert all(torch.equal(states, found[0]) for states in found)
    final(model, tokens(2, 14))
    final(model, ids, (0, 1))
    assert pretended.made == 1


def test_recordings_go_with_the_spectra_that_they_read(pretended: type[Pretended]) -> None:
    model, ids = small(), tokens(1, 16)
    bank = filter_bank(model)
    for _ in range(3):
        final(model, ids)
    assert len(bank.graphs) == 1
    bank.budget = bank.nbytes
    final(model, tokens(1, 300))
    assert len(bank.graphs) == 0


def test_without_kept_spectra_nothing_is_recorded(pretended: type[Pretended]) -> None:
    model, ids = small(), tokens(1, 16)
    filter_bank(model).budget = 0
    for _ in range(4):
        final(model, ids)
    assert pretended.made == 0


def test_changed_weights_are_not_replayed(pretended: type[Pretended]) -> None:
    model, ids = small(), tokens(1, 16)
    old = [final(model, ids)[0] for _ in range(3)][-1]
    with torch.no_grad():
        model.stack[0].operator.out_proj.weight.normal_()
    new = final(model, ids)[0]
    assert not torch.allclose(old, new, atol=1e-2)
    assert len(filter_bank(model).graphs) == 0


def test_a_replay_that_somebody_still_reads_is_not_started_again(pretended: type[Pretended]) -> None:
    model, ids = small(), tokens(1, 16)
    for _ in range(3):
        final(model, ids)
    (recording,) = filter_bank(model).graphs._held.values()
    assert isinstance(recording, Pretended)
    recording.busy = True
    final(model, ids)
    assert recording.replays == 1


def test_a_recording_that_fails_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half, "_recordable", lambda ids: True)
    monkeypatch.setattr(graphs, "Recording", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no")))
    model, ids = small(), tokens(1, 16)
    found = [final(model, ids)[0] for _ in range(4)]
    assert all(torch.equal(states, found[0]) for states in found)
    assert len(filter_bank(model).graphs) == 0


@NEEDS_GPU
@pytest.mark.parametrize("layers", [(-1,), (2,), (0, 1, 2, 3), (2, 3)])
@pytest.mark.parametrize(("B", "L"), [(1, 8), (5, 37), (2, 300)])
def test_replayed_states_are_the_same_bits(B: int, L: int, layers: tuple[int, ...]) -> None:
    model, batches = small(), [tokens(B, L, seed) for seed in range(6)]
    bank = filter_bank(model)
    bank.graphs.budget = 0
    expected = [final(model, ids, layers) for ids in batches]
    bank.graphs.budget = graphs.BUDGET
    bank.graphs.clear()
    for ids, wanted in zip(batches, expected, strict=True):
        assert all(torch.equal(*pair) for pair in zip(final(model, ids, layers), wanted, strict=True))
    assert len(bank.graphs) == 1
    assert 0 < bank.graphs.nbytes < 256 << 20


@NEEDS_GPU
def test_states_of_replays_do_not_overwrite_each_other() -> None:
    model, batches = small(), [tokens(2, 30, seed) for seed in range(2)]
    expected = [final(model, ids, (1, 2)) for ids in batches]
    for _ in range(3):
        final(model, batches[0], (1, 2))
    one, other = (hidden_states(model, ids, layers=(1, 2), precision="half") for ids in batches)
    for layer in range(2):
        first, second = next(one)[1], next(other)[1]
        assert torch.equal(first, expected[0][layer])
        assert torch.equal(second, expected[1][layer])


@NEEDS_GPU
def test_an_overflow_is_noticed_in_a_replay() -> None:
    model, ids = small(), tokens(3, 24)
    ids[1] = 11
    with torch.no_grad():
        model.embedding.weight[:, 15] = model.embedding.weight[:, :15].mean(dim=1)  # 0 behind the norm
        model.embedding.weight[11] = torch.eye(16, device=DEVICE)[15]
        model.stack[0].operator.in_proj.weight[[16 + 5, 32 + 5], 15] = 6e3
        ids[0], ids[2] = 7, 8
    for use in range(5):
        overflowed = set[int]()
        for _, hidden in hidden_states(model, ids, precision="half", overflowed=overflowed):
            assert hidden[[0, 2]].isfinite().all()
        assert overflowed == {1}, use
        calm = ids.clone()
        calm[1] = 9
        assert final(model, calm)[0].isfinite().all()
        later = [list[Tensor](), list[Tensor]()]
        for batch, unchecked in zip((ids, calm), later, strict=True):
            for _ in hidden_states(model, batch, precision="half", unchecked=unchecked):
                pass
        assert [any(bool(bad.any()) for bad in unchecked) for unchecked in later] == [True, False]


@NEEDS_GPU
def test_large_batches_are_not_recorded() -> None:
    model = small()
    for _ in range(4):
        final(model, tokens(2, graphs.LARGEST // 2 + 8))
    assert len(filter_bank(model).graphs) == 0
