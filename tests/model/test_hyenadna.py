"""The plain model as training uses it: shapes, gradients, causality, the tied head, a reproducible start."""

import pytest
import torch
from torch import Tensor

from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA

CONFIG = HyenaConfig(d_model=8, n_layer=2, d_inner=16, l_max=40)


def seeded(config: HyenaConfig = CONFIG, seed: int = 0) -> HyenaDNA:
    torch.manual_seed(seed)
    return HyenaDNA(config)


def bases(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(7, 12, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_logits_and_states() -> None:
    model = seeded()
    assert model(bases(3, 20)).shape == (3, 20, 16)
    assert [tuple(state.shape) for state in model.states(bases(3, 20))] == [(3, 20, 8)] * 4


def test_every_parameter_gets_a_gradient() -> None:
    model = seeded()
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(model(bases(2, 30)).log_softmax(-1)[..., 7].sum(), parameters)
    without = [name for name, gradient in zip(names, gradients, strict=True) if not gradient.abs().sum() > 0]
    assert not without


def test_gradient_of_a_step_by_differences() -> None:
    """The loss moves by gradient times step, for a random direction in all parameters."""
    model = seeded().double()
    ids = bases(2, 25)

    def loss() -> Tensor:
        return torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())

    parameters = list(model.parameters())
    directions = [torch.randn_like(p) for p in parameters]
    gradients = torch.autograd.grad(loss(), parameters)
    slope = sum((gradient * way).sum().item() for gradient, way in zip(gradients, directions, strict=True))
    values = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            for parameter, way in zip(parameters, directions, strict=True):
                parameter.add_(step * way)
            values.append(loss().item())
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope, rel=1e-4)


def test_causal() -> None:
    model = seeded().double()
    ids = bases(1, 60)
    changed = ids.clone()
    changed[0, 35:] = 11
    before, after = model(ids), model(changed)
    assert torch.allclose(before[:, :35], after[:, :35], atol=1e-12)
    assert not torch.allclose(before[:, 35:], after[:, 35:], atol=1e-6)


def test_tied_head_is_one_parameter() -> None:
    tied = seeded(HyenaConfig(d_model=8, n_layer=1, d_inner=16, l_max=40, tied=True))
    assert tied.head.weight is tied.embedding.weight
    assert len(list(tied.parameters())) == len(list(seeded(HyenaConfig(8, 1, 16, 40)).parameters())) - 1


def test_layers_share_their_positions() -> None:
    model = seeded()
    first, second = (block.operator.long_filter.positions for block in model.stack)
    assert first is second
    model = model.double()
    assert model.stack[0].operator.long_filter.positions.z is model.stack[1].operator.long_filter.positions.z


def test_a_seed_gives_the_same_start() -> None:
    same = [torch.equal(a, b) for a, b in zip(seeded().parameters(), seeded().parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(seeded().embedding.weight, seeded(seed=1).embedding.weight)


def test_a_model_learns() -> None:
    """A few steps of training on a repeating sequence lower the loss a lot."""
    model = seeded()
    ids = torch.tensor([[7, 8, 9, 10] * 10])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
