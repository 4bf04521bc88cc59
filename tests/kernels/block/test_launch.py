"""The fused kernels of a block against the same in plain torch, float64; without a GPU in Triton's interpreter."""

import pytest
import torch
from torch import Tensor

from genoconv.kernels.block import packing, reference
from genoconv.kernels.block.packing import Projection, Transform

GPU = torch.cuda.is_available()
pytest.importorskip("triton")

from genoconv.kernels.block import launch  # noqa: E402

DEVICE = torch.device("cuda" if GPU else "cpu")
# Relative L2 error: float16 operands and results, float32 sums.
TOLERANCE = 5e-4
# d_model, d_inner, rows of the batch, positions of a row.
SHAPES = [(64, 256, 3, 34), (40, 150, 2, 130), (128, 512, 1, 136), (16, 64, 1, 2), (256, 1024, 1, 66)]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, device=DEVICE)


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


def projection(d: int) -> Projection:
    linear = draw(3 * d, d) / d**0.5, draw(3 * d)
    return packing.pack_projection((draw(d), draw(d)), linear, (draw(3 * d, 3), draw(3 * d)))


def transform(d: int, inner: int) -> Transform:
    return packing.pack_transform(
        (draw(d, d) / d**0.5, draw(d)),
        (draw(d), draw(d)),
        (draw(inner, d) / d**0.5, draw(inner)),
        (draw(d, inner) / inner**0.5, draw(d)),
        (draw(d), draw(d)),
        eps=1e-5,
        next_eps=1e-3,
    )


@pytest.mark.parametrize(("d", "positions"), [(64, 100), (40, 32), (256, 1), (16, 33)])
def test_embed(d: int, positions: int) -> None:
    table, ids = draw(12, d), torch.randint(0, 12, (positions,), device=DEVICE)
    normal_table = reference.normalised(table, 1e-5)
    x, normal = draw(positions, d), draw(positions, d).half()
    launch.embed(ids, table, normal_table, x, normal)
    assert torch.equal(x, table[ids])
    assert torch.equal(normal, normal_table[ids])


@pytest.mark.parametrize(("d", "inner", "B", "row"), SHAPES)
@pytest.mark.parametrize("behind", [2, 8])
def test_gates_in_two_chunks(d: int, inner: int, B: int, row: int, behind: int) -> None:
    weights, P = projection(d), B * row
    u = draw(3 * d, P).half()
    v, gate = (torch.full((d, P), float("nan"), device=DEVICE).half() for _ in range(2))
    cut = max(0, P // 2 // 2 * 2)
    before = min(cut, behind)
    if cut:
        launch.gates(u[:, :cut].contiguous(), weights, v, gate, first=0, behind=0, row=row)
    launch.gates(u[:, cut - before :].contiguous(), weights, v, gate, first=cut, behind=before, row=row)
    wanted = reference.gates(u.double(), weights, row=row)
    assert error(v, wanted[0]) <= TOLERANCE
    assert error(gate, wanted[1]) <= TOLERANCE


@pytest.mark.parametrize(("d", "inner", "B", "row"), SHAPES)
def test_transform(d: int, inner: int, B: int, row: int) -> None:
    weights, P = transform(d, inner), B * row
    x, y = draw(P, d), draw(d, P).half()
    final, bad = x.clone(), torch.zeros(1, dtype=torch.int32, device=DEVICE)
    following = torch.full((P, d), float("nan"), device=DEVICE).half()
    wanted = reference.transform(x.double(), y, weights)
    launch.transform(final, y, weights, following, bad, final=True)
    launch.transform(x, y, weights, following, bad)
    assert error(x, wanted[0]) <= TOLERANCE
    assert error(following, wanted[1]) <= TOLERANCE
    assert error(final, wanted[2]) <= TOLERANCE
    assert not bad.any()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 60000.0])
def test_what_is_not_finite_is_noticed(value: float) -> None:
    weights = transform(64, 128)
    x, y, bad = draw(130, 64), draw(64, 130).half(), torch.zeros(1, dtype=torch.int32, device=DEVICE)
    y[3, 129] = value
    launch.transform(x, y, weights, torch.empty(130, 64, device=DEVICE).half(), bad)
    assert bool(bad.any()) == (not x.isfinite().all())
    assert bad.any() or value == 60000.0


def test_rows_do_not_see_each_other() -> None:
    weights = projection(16)
    u = draw(48, 24).half()
    v, gate = (torch.empty(16, 24, device=DEVICE).half() for _ in range(2))
    launch.gates(u, weights, v, gate, first=0, behind=0, row=8)
    alone = torch.empty(16, 8, device=DEVICE).half(), torch.empty(16, 8, device=DEVICE).half()
    launch.gates(u[:, 8:16].contiguous(), weights, *alone, first=0, behind=0, row=8)
    assert torch.equal(v[:, 8:16], alone[0])
    assert torch.equal(gate[:, 8:16], alone[1])


@pytest.mark.parametrize(("B", "L", "d"), [(1, 1, 16), (3, 700, 40), (2, 1030, 300), (5, 16, 256)])
def test_sums_of_rows_take_no_padding(B: int, L: int, d: int) -> None:
    lengths = [L, 1, L // 2, max(1, L - 1), L][:B]
    padded = torch.full((B, L + 5, d), float("nan"), device=DEVICE)
    for row, length in enumerate(lengths):
        padded[row, :length] = draw(length, d)
    x = padded[:, :L]
    found = launch.sums(x, torch.tensor(lengths, device=DEVICE))
    assert found.dtype == torch.float64
    for row, length in enumerate(lengths):
        wanted = x[row, :length].double().sum(0)
        assert float((found[row] - wanted).abs().max()) <= 1e-12 * length
