"""The kernels at both ends of frequency-sparse convolutions, against the same in plain torch and float64."""

import pytest
import torch
from torch import Tensor

from genoconv.kernels import sparsity
from genoconv.kernels.monarch import launch, resample

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
KEEPS = [1 / 16, 1 / 4, 0.27, 0.4]
# Of multiples of 16 samples and of 8, ragged, of part of a window; the first two of more windows than a program has.
LENGTHS = [29120, 30008, 5003, 1]


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float16) -> Tensor:
    generator = torch.Generator(DEVICE).manual_seed(seed)
    return torch.randn(*shape, generator=generator, device=DEVICE).to(dtype)


def relative_error(result: Tensor, expected: Tensor) -> float:
    return float((result.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("L", LENGTHS)
@pytest.mark.parametrize("gated", [True, False], ids=["gated", "alone"])
def test_decimation(keep: float, L: int, gated: bool) -> None:
    band = sparsity.band_for(keep)
    u, gate = draw(2, 3, L, seed=1), draw(3, 2, L, seed=2).transpose(0, 1)
    low = torch.full((2, 2, band.low_samples(L)), float("nan"), dtype=torch.float16, device=DEVICE)
    x = launch.Operands(u, gate if gated else None, None, torch.empty_like(u), None)
    resample._decimate(x, band, 1, low)
    expected = sparsity.decimate((u.double() * gate.double() if gated else u.double())[:, 1:], band)
    assert relative_error(low, expected) < 1e-3


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("L", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_interpolation(keep: float, L: int, dtype: torch.dtype) -> None:
    band = sparsity.band_for(keep)
    u, in_gate, out_gate = (draw(3, 2, L, seed=seed, dtype=dtype).transpose(0, 1) for seed in range(3))
    low, skip = draw(2, 2, band.low_samples(L), seed=3), draw(3, seed=4).float()
    y = torch.full_like(u, float("nan"))
    resample._interpolate(launch.Operands(u, in_gate, out_gate, y, skip), band, 1, low)
    x = (u.double() * in_gate.double()) * skip.double()[:, None]
    expected = (sparsity.interpolate(low.double(), band, L) + x[:, 1:]) * out_gate[:, 1:].double()
    assert relative_error(y[:, 1:], expected) < (1e-3 if dtype == torch.float16 else 4e-3)
    assert y[:, 0].isnan().all(), "the other channel is left alone"


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("left_out", ["skip", "in_gate", "out_gate", "all"])
def test_interpolation_of_a_single_row_with_operands_left_out(keep: float, left_out: str) -> None:
    L, band = 3001, sparsity.band_for(keep)
    low, u = draw(1, 1, band.low_samples(L), seed=1), draw(1, 1, L, seed=2)
    given = {"skip": draw(1, seed=3).float(), "in_gate": draw(1, 1, L, seed=4), "out_gate": draw(1, 1, L, seed=5)}
    there = {name: tensor if left_out not in (name, "all") else None for name, tensor in given.items()}
    y = torch.full_like(u, float("nan"))
    resample._interpolate(launch.Operands(u, there["in_gate"], there["out_gate"], y, there["skip"]), band, 0, low)
    ones = {name: torch.ones_like(t) if there[name] is None else t for name, t in given.items()}
    x = u.double() * ones["in_gate"] * (0.0 if there["skip"] is None else ones["skip"])
    expected = (sparsity.interpolate(low.double(), band, L) + x) * ones["out_gate"]
    assert relative_error(y, expected) < 1e-3
