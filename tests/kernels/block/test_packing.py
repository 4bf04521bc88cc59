"""What is packed for the kernels, computed in plain torch, is the model's block."""

import torch
from torch import Tensor

from genoconv.kernels.block import packing, reference
from genoconv.model.block import Block
from genoconv.model.config import NORM_EPS, HyenaConfig
from genoconv.model.half import half_weights
from genoconv.model.hyenadna import HyenaDNA

# Matrices are rounded to float16.
TOLERANCE = 5e-4


def trained_like() -> HyenaDNA:
    """A model in which nothing is zero or one."""
    model = HyenaDNA(HyenaConfig(d_model=24, n_layer=2, d_inner=50, l_max=64, eps=1e-3)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_projection_is_norm_projection_and_short_filter() -> None:
    model = trained_like()
    block: Block = model.stack[1]
    x = torch.randn(2, 10, 24, dtype=torch.float64)
    with torch.no_grad():
        u = block.operator.short_filter(block.operator.in_proj(block.norm1(x)).transpose(1, 2))
        x0, x1, v = u.chunk(3, dim=1)
        packed = half_weights(model).projections[1]
        normal = torch.nn.functional.layer_norm(x, (24,), eps=NORM_EPS).view(20, 24)
        found, gate = reference.gates(packed.weight.double() @ normal.t(), packed, row=10)
    assert error(found.view(24, 2, 10).transpose(0, 1), v * x1) <= TOLERANCE
    assert error(gate.view(24, 2, 10).transpose(0, 1), x0) <= TOLERANCE


def test_transform_is_the_rest_of_the_block_and_the_norms() -> None:
    model = trained_like()
    x, y = torch.randn(20, 24, dtype=torch.float64), torch.randn(24, 20, dtype=torch.float64)
    with torch.no_grad():
        for index, block in enumerate(model.stack):
            after = x + block.operator.out_proj(y.t())
            after = after + block.mlp(block.norm2(after))
            stream, following, final = reference.transform(x, y, half_weights(model).transforms[index])
            assert error(stream, after) <= TOLERANCE
            last = index == 1
            eps = model.norm.eps if last else NORM_EPS
            assert error(following, torch.nn.functional.layer_norm(after, (24,), eps=eps)) <= TOLERANCE
            if last:
                assert error(final, model.norm(after)) <= TOLERANCE


def test_hidden_layer_is_padded_to_whole_steps() -> None:
    packed = half_weights(trained_like()).transforms[0]
    assert packed.inner % packing.HIDDEN_STEP == 0
    assert (packed.width, packed.d) == (packing.NARROWEST, 24)
    assert not packed.fc1[24:].any()
    assert not packed.fc2[50:].any()
