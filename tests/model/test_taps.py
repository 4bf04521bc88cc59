"""Features and taps made in pieces: the filter's own numbers, whatever the pieces and the threads."""

from collections.abc import Iterator

import pytest
import torch

from genoconv.model import taps
from genoconv.model.config import HyenaConfig
from genoconv.model.filter import ImplicitFilter, Positions
from genoconv.model.taps import make_features, make_taps, pieces_of_features
from genoconv.model.workers import Workers

CONFIG = HyenaConfig(d_model=40, n_layer=1, d_inner=16, l_max=700)


@pytest.fixture(scope="module")
def long_filter() -> ImplicitFilter:
    torch.manual_seed(0)
    return ImplicitFilter(CONFIG, Positions(CONFIG))


@pytest.fixture(params=[1, 5], ids=["one thread", "five threads"])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    with Workers(torch.device("cpu"), request.param) as made:
        yield made


@pytest.mark.parametrize("channels", [slice(None), slice(3, 5)])
def test_taps_made_in_pieces(
    long_filter: ImplicitFilter, workers: Workers, channels: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taps, "_CHUNK_TAPS", {"cpu": 64})
    with torch.no_grad():
        made = make_taps(long_filter, make_features(long_filter, 677, workers), channels, None)
        assert torch.allclose(made, long_filter(677)[channels], atol=1e-6)


def test_pieces_fill_all(long_filter: ImplicitFilter, workers: Workers) -> None:
    features = torch.full((600, CONFIG.filter_order), torch.nan)
    pieces = pieces_of_features(long_filter, features, workers)
    with torch.no_grad():
        for piece in reversed(pieces):
            piece()
        assert torch.allclose(features, long_filter.features(0, 600), atol=1e-6)
    assert len(pieces) == (1 if workers.count == 1 else 3)


def test_room_is_used(long_filter: ImplicitFilter, workers: Workers) -> None:
    room = torch.empty(4, 300)
    with torch.no_grad():
        made = make_taps(long_filter, make_features(long_filter, 300, workers), slice(7, 10), room)
    assert made.shape == (3, 300)
    assert made.data_ptr() == room.data_ptr()
