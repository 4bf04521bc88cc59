"""Chunks of a sweep: the block's own numbers, and the same ones by TorchScript as by Python."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genoconv.kernels.scripts import one_of_many
from genoconv.model.block import Block
from genoconv.model.config import HyenaConfig
from genoconv.model.filter import Positions
from genoconv.model.products import BLOCK
from genoconv.model.sweeps import front, mixer, project, stream_source, token_source, transform

CONFIG = HyenaConfig(d_model=12, n_layer=1, d_inner=40, l_max=400)
CHUNKS = [(slice(0, 1), slice(0, 70)), (slice(0, 1), slice(70, 100)), (slice(1, 3), slice(0, 100))]


@pytest.fixture(scope="module")
def block() -> Block:
    torch.manual_seed(0)
    made = Block(CONFIG, Positions(CONFIG))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def as_one_of_many(work: Callable[[], Tensor]) -> Tensor:
    found: list[Tensor] = []

    def begin() -> None:
        one_of_many()
        with torch.no_grad():
            found.append(work())

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    return found[0]


def projected(block: Block, x: Tensor, ids: Tensor | None, *, half: bool) -> Tensor:
    """v * x1 above x0, (B, 2d, L)."""
    B, L, d = x.shape
    v, gate = torch.full((2, B, d, L), torch.nan)
    for at in CHUNKS:
        source = stream_source(block, x, half) if ids is None else token_source(block, x[0], ids)
        project(*front(block.operator, lambda source=source: source), v, gate, 70, at)  # type: ignore[misc]
    return torch.cat([v, gate], 1)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
def test_projections(block: Block, tokens: bool, half: bool) -> None:
    x = draw(3, 100, 12)
    ids = torch.randint(0, 100, (3, 100), generator=torch.Generator().manual_seed(0)) if tokens else None
    with torch.no_grad():
        found = projected(block, x, ids, half=half)
        x0, x1, v = block.enter(x if ids is None else x[0][ids]).chunk(3, dim=1)
        expected = torch.cat([v * x1, x0], 1)
    assert (found - expected).norm() <= (1e-2 if half and not tokens else 1e-6) * expected.norm()
    assert torch.equal(as_one_of_many(lambda: projected(block, x, ids, half=half)), found)


def transformed(block: Block, x: Tensor, y: Tensor, *, half: bool, size: int) -> Tensor:
    x, made = x.clone(), mixer(block, pack=True, half=half)
    for at in CHUNKS:
        transform(made, x, y, size, at)
    return x


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("size", [10, 32, BLOCK])
def test_transform(block: Block, size: int, half: bool) -> None:
    x, y = draw(3, 100, 12), draw(3, 12, 100)
    with torch.no_grad():
        found = transformed(block, x, y, half=half, size=size)
        expected = block.leave(x, y)
    assert (found - expected).norm() <= (1e-2 if half else 1e-6) * expected.norm()
    assert torch.equal(as_one_of_many(lambda: transformed(block, x, y, half=half, size=size)), found)
