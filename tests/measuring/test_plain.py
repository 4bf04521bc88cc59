"""Plain torch computes the model as the formula does."""

import pytest
import torch

from genoconv.measuring.plain import plain_states
from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA


def small() -> HyenaDNA:
    torch.manual_seed(2)
    model = HyenaDNA(HyenaConfig(d_model=8, n_layer=2, d_inner=20, l_max=30)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize("length", [1, 29, 47], ids=["one", "within the filters", "beyond the filters"])
def test_states_are_those_of_the_formula(length: int) -> None:
    model, ids = small(), torch.randint(7, 12, (2, length))
    *_, expected = model.states(ids)
    torch.testing.assert_close(plain_states(model, ids), expected, rtol=1e-4, atol=1e-4)


def test_autocast_rounds_but_does_not_change_what_is_computed() -> None:
    model, ids = small(), torch.randint(7, 12, (2, 29))
    with torch.no_grad():
        exact = plain_states(model, ids)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = plain_states(model, ids)
    error = (rounded - exact).norm() / exact.norm()
    assert 1e-4 < error < 0.2
