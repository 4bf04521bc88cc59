"""The formulas behind the filters, and the filters' independence of what they must not depend on."""

import math

import torch

from genoconv.model.config import HyenaConfig
from genoconv.model.filter import ImplicitFilter, Positions, decay_rates, position_features

CONFIG = HyenaConfig(d_model=6, n_layer=1, d_inner=8, l_max=50)


def test_positions_by_hand() -> None:
    z, t = position_features(50, 5)
    assert z.shape == (50, 5)
    assert t.shape == (50, 1)
    angle = 2 * math.pi * 7 / 50
    expected = [7 / 49, math.cos(1e-4 * angle), math.cos(angle), -math.sin(1e-4 * angle), -math.sin(angle)]
    assert torch.allclose(z[7], torch.tensor(expected), atol=1e-7)
    assert t[-1].item() == 1.0


def test_one_position() -> None:
    z, t = position_features(1, 3)
    assert z.isfinite().all()
    assert t.tolist() == [[0.0]]


def test_decay_rates() -> None:
    rates = decay_rates(128)
    assert torch.allclose(rates[[0, -1]], torch.tensor([-3.0701134, -15.350567]), atol=1e-5)


def test_taps_by_hand() -> None:
    torch.manual_seed(0)
    made = ImplicitFilter(CONFIG, Positions(CONFIG)).double()
    with torch.no_grad():
        made.freq.uniform_(5, 15)
        taps = made(50)  # (d, K)
        h = made.positions.z[20]
        for linear in made.inner:
            assert isinstance(linear, torch.nn.Linear)
            h = torch.sin(made.freq * (linear.weight @ h + linear.bias))
        window = torch.exp(-made.positions.t[20] * made.deltas.abs()) + 0.05
        assert torch.allclose(taps[:, 20], (made.outer.weight @ h) * window, atol=1e-12)


def test_fewer_taps_are_the_first_ones() -> None:
    made = ImplicitFilter(CONFIG, Positions(CONFIG))
    with torch.no_grad():
        assert torch.allclose(made(50)[:, :13], made(13), atol=1e-6)
