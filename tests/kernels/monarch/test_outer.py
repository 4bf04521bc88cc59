"""Outer transforms against float64, forth and back: one pass, two, and two in one; without a GPU interpreted."""

from math import prod

import pytest
import torch
from torch import Tensor

from genoconv.kernels.monarch import tables
from genoconv.kernels.monarch.plan import Plan, paired

GPU = torch.cuda.is_available()
pytest.importorskip("triton")
outer = pytest.importorskip("genoconv.kernels.monarch.outer")

DEVICE = torch.device("cuda" if GPU else "cpu")
TOLERANCE = 1e-3
# Two factors of rows that are no power of two, rows of 64 or 256 values.
PLANS = [
    Plan("passes", factors) for factors in ((16, 16, 8, 8), (13, 15, 8, 8), (29, 14, 8, 8), (3, 2, 16, 16), (5, 16, 16))
]


def exact(plan: Plan) -> tuple[Tensor, Tensor]:
    """The transform over all outer rows (rows of planes, rows of signals) and the twiddle, complex128."""
    factors = plan.factors[:-2]
    rows, m = prod(factors), prod(plan.factors[-2:])
    j = torch.arange(rows, device=DEVICE).double()
    if len(factors) == 2:
        # Row (ja, jb) of the planes is frequency ja + n1 jb.
        j = torch.div(j, factors[1], rounding_mode="floor") + factors[0] * (j % factors[1])
    j -= tables.SHIFT
    size = prod(tables.unit(n) for n in factors)
    twiddle = tables.turns(j[:, None] * torch.arange(m, device=DEVICE) / plan.n)
    return tables.turns(j[:, None] * torch.arange(rows, device=DEVICE) / rows) * size, twiddle


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().norm() / expected.abs().norm())


def draw(*shape: int) -> Tensor:
    """The same numbers for the same shape."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).half().to(DEVICE)


def test_which_plans_are_done_in_one_pass() -> None:
    assert [paired(*plan.factors[:2]) for plan in PLANS[:4]] == [True, True, True, False]


@pytest.fixture(params=[1, 4], ids=["one step", "four steps"])
def steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many tiles a program does, one after the other: without this, tests are too small for more than one."""
    monkeypatch.setattr(outer, "portion", lambda *_: request.param)


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("missing", [0, 7])
@pytest.mark.usefixtures("steps")
def test_forth(plan: Plan, missing: int) -> None:
    B, H, L = 2, 3, plan.n - missing
    # Channels 1 and 2 of three, of signals that do not lie side by side.
    x, gate, factor = draw(B, L, H).transpose(1, 2).contiguous(), draw(B, H, L), draw(H).float().abs() + 0.5
    planes = torch.full((2, B * 2 * plan.n), float("nan"), dtype=torch.float16, device=DEVICE)
    outer.outer_of(plan, outer.Group(B, 1, 2, L, 1), DEVICE).forward(outer.Source(x, gate, factor), planes)
    given = torch.zeros(2, B, plan.n, dtype=torch.complex128, device=DEVICE)
    given[..., :L] = (x.double() * gate.double() * factor.double()[:, None])[:, 1:].transpose(0, 1)
    transform, twiddle = exact(plan)
    expected = transform @ given.view(2 * B, len(transform), -1) * twiddle
    found = torch.complex(*planes.double()).view_as(expected)
    assert relative_error(found, expected) < TOLERANCE


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("missing", [0, 7])
@pytest.mark.usefixtures("steps")
def test_back(plan: Plan, missing: int) -> None:
    B, H, L = 2, 3, plan.n - missing
    planes, scale = draw(2, B * 2 * plan.n), draw(H).float()
    transform, twiddle = exact(plan)
    z = torch.complex(*planes.double()).view(2 * B, len(transform), -1)
    expected = (transform.mH @ (z * twiddle.conj())).real.reshape(2, B, plan.n)[..., :L].transpose(0, 1)
    expected *= scale.double()[1:, None]
    gates = draw(B, H, L), draw(B, L, H).transpose(1, 2).contiguous()
    found = [torch.full((B, H, L), float("nan"), dtype=torch.float16, device=DEVICE) for _ in gates]
    target = outer.Target(found[0], gates[0], scale, found[1], gates[1])
    outer.outer_of(plan, outer.Group(B, 1, 2, L, 1), DEVICE).inverse(planes.clone(), target)
    for y, gate in zip(found, gates, strict=True):
        assert relative_error(y[:, 1:].double(), expected * gate[:, 1:].double()) < TOLERANCE
        assert y[:, 0].isnan().all(), "the other channel is left alone"


@pytest.mark.parametrize("plan", [PLANS[1], PLANS[3], PLANS[4]], ids=str)
@pytest.mark.usefixtures("steps")
def test_chunks_are_signals_of_their_own(plan: Plan) -> None:
    """Two rows of three chunks, of which the last is not full, are the same as six rows of one."""
    B, H, L = 2, 2, 3 * plan.n - 9
    x, gate, scale = draw(B, H, L), draw(B, H, L), draw(H).float()
    padded = torch.nn.functional.pad(torch.stack((x, gate)), (0, 9)).view(2, B, H, 3, plan.n)
    apart = padded.transpose(2, 3).reshape(2, 3 * B, H, plan.n)
    chunks = outer.outer_of(plan, outer.Group(3 * B, 0, H, L, 1, 3), DEVICE)
    rows = outer.outer_of(plan, outer.Group(3 * B, 0, H, plan.n, 1), DEVICE)
    found, expected = (torch.full((2, 3 * B * H * plan.n), float("nan"), dtype=x.dtype, device=DEVICE) for _ in "ab")
    chunks.forward(outer.Source(x, gate), found)
    rows.forward(outer.Source(*apart), expected)
    assert torch.equal(found, expected)
    y, y_apart = torch.full_like(x, float("nan")), torch.full_like(apart[0], float("nan"))
    chunks.inverse(found, outer.Target(y, gate, scale))
    rows.inverse(expected, outer.Target(y_apart, apart[1], scale))
    assert torch.equal(y, y_apart.view(B, 3, H, plan.n).transpose(1, 2).reshape(B, H, 3 * plan.n)[..., :L])


@pytest.mark.parametrize("memory", [99 << 10, 227 << 10], ids=["99 KiB", "227 KiB"])
@pytest.mark.parametrize("plan", [PLANS[2], Plan("passes", (65, 16, 8))], ids=str)
def test_there_and_back_in_the_tiles_that_shared_memory_allows(
    plan: Plan, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outer.devices, "shared_memory", lambda _: memory)
    x = draw(2, 1, plan.n)
    planes = torch.full((2, 2 * plan.n), float("nan"), dtype=torch.float16, device=DEVICE)
    transforms = outer.outer_of(plan, outer.Group(2, 0, 1, plan.n, 1), DEVICE)
    transforms.forward(outer.Source(x), planes)
    y = torch.full_like(x, float("nan"))
    growth = prod(n * tables.unit(n) ** 2 for n in plan.factors[:-2])
    transforms.inverse(planes, outer.Target(y, None, torch.tensor([1 / growth], device=DEVICE)))
    assert relative_error(y.double(), x.double()) < TOLERANCE
