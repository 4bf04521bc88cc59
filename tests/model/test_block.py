"""A block, compiled around its convolution, is the same block."""

from functools import partial

import pytest
import torch

from genoconv.model.block import Block
from genoconv.model.config import HyenaConfig
from genoconv.model.filter import Positions

CONFIG = HyenaConfig(d_model=8, n_layer=1, d_inner=16, l_max=50)


# The compiler's own code is full of warnings.
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_block_computes_the_same_with_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    # Traced and differentiated by the compiler, but run operation by operation: its C++ would take half a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True))
    torch.manual_seed(0)
    plain = Block(CONFIG, Positions(CONFIG))
    compiled = Block(CONFIG, Positions(CONFIG))
    compiled.load_state_dict(plain.state_dict())
    compiled.compile_around_convolution()
    x = torch.randn(2, 30, 8)
    results = []
    for block in (plain, compiled):
        y = block(x)
        y.square().sum().backward()
        results.append([y, *(parameter.grad for parameter in block.parameters())])
    assert all(torch.allclose(one, two, rtol=1e-4, atol=1e-5) for one, two in zip(*results, strict=True))
    assert "enter" in vars(compiled)
    assert "enter" not in vars(plain)
