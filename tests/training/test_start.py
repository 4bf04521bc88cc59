from pathlib import Path

import pytest
import torch

from genoconv.errors import ModelError, UsageError
from genoconv.model.config import HyenaConfig
from genoconv.model.pretrained import load_model, save_checkpoint
from genoconv.training.start import Shape, new_model, starting_point, with_shorter_filters

CONFIG = HyenaConfig(d_model=16, n_layer=2, d_inner=32, l_max=1026, filter_shift=0.0)


def test_the_same_seed_gives_the_same_weights() -> None:
    one, two, other = (new_model(CONFIG, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["embedding.weight"], other["embedding.weight"])


@torch.no_grad()
def test_windows_reach_from_two_taps_to_a_third_of_the_filter() -> None:
    filters = new_model(CONFIG, 0).stack[1].operator.long_filter
    memories = 1025 / filters.deltas
    assert memories[0].item() == pytest.approx(2.0)
    assert memories[-1].item() == pytest.approx(1025 / 3, rel=1e-4)
    ratios = memories[1:] / memories[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios), rtol=1e-4, atol=0)
    slow, fast = filters(1026).abs()[[-1, 0]]
    assert fast[40:].max() < 1e-6 * fast[:4].max()
    assert slow[300:].max() > 0.01 * slow[:4].max()


@torch.no_grad()
def test_neighbouring_taps_can_differ_from_the_first_step_on() -> None:
    def roughness(taps: torch.Tensor) -> float:
        return float((taps[:, 1:] - taps[:, :-1]).abs().mean() / taps.abs().mean())

    long = HyenaConfig(d_model=16, n_layer=1, d_inner=32, l_max=32_770, filter_shift=0.0)
    filters = new_model(long, 0).stack[0].operator.long_filter
    filters.deltas.zero_()
    assert roughness(filters(4096)) > 0.1


def test_the_windows_survive_saving_without_buffers(tmp_path: Path) -> None:
    model = new_model(CONFIG, 0)
    save_checkpoint(model, tmp_path, buffers=False)
    again = load_model(tmp_path)
    assert again.config.filter_shift == 0.0
    ids = torch.randint(7, 11, (1, 50))
    assert torch.equal(again(ids), model(ids))


def test_a_new_model_has_the_default_shape_where_none_is_asked_for() -> None:
    config, weights, identity = starting_point(None, Shape(d_model=64))
    assert (config.d_model, config.n_layer, config.d_inner, config.l_max) == (64, 4, 256, 32_770)
    assert (weights, identity) == (None, "")


def test_an_existing_model_brings_its_shape_and_its_identity(tmp_path: Path) -> None:
    save_checkpoint(new_model(CONFIG, 0), tmp_path, buffers=False)
    config, weights, identity = starting_point(str(tmp_path), Shape(d_model=16))
    assert config == CONFIG
    assert weights is not None
    assert len(identity) == 64
    with pytest.raises(UsageError, match="n-layer 3"):
        starting_point(str(tmp_path), Shape(n_layer=3))
    with pytest.raises((ModelError, UsageError)):
        starting_point(str(tmp_path / "nowhere"), Shape())


@torch.no_grad()
def test_shorter_filters_are_the_first_taps_of_the_whole_ones_also_once_saved(tmp_path: Path) -> None:
    whole, cut = new_model(CONFIG, 0), with_shorter_filters(new_model(CONFIG, 0), 10)
    ids = torch.randint(7, 11, (1, 100))
    expected = whole(ids, filter_length=10)
    assert cut.config.l_max == 10
    torch.testing.assert_close(cut(ids), expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(expected, whole(ids), rtol=1e-3)
    save_checkpoint(cut, tmp_path, buffers=False)
    torch.testing.assert_close(load_model(tmp_path)(ids), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="cannot be cut"):
        with_shorter_filters(whole, 2000)
