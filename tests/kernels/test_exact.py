"""The Triton kernels with float32's accuracy against float64: every plan and kernel; without a GPU interpreted."""

from typing import Any

import pytest
import torch
from torch import Tensor

from genoconv.kernels import reference, torch_path, triton_path
from genoconv.kernels.backends import choose, is_exact
from genoconv.kernels.fftconv import ConvolutionOverflowError, fftconv, prepare
from genoconv.kernels.monarch import exact_plan
from genoconv.kernels.monarch.plan import Plan

GPU = torch.cuda.is_available()
pytest.importorskip("triton")
exact = pytest.importorskip("genoconv.kernels.monarch.exact")

DEVICE = torch.device("cuda" if GPU else "cpu")
# Largest relative L2 error; 3.4e-7 to 1.6e-6 were seen on a GPU, 3e-7 to 4e-7 in the interpreter.
TOLERANCE = 3e-6
CASES = [
    (Plan("blocks", (64, 16)), 1, 1, 1, 1),
    (Plan("blocks", (64, 16)), 3, 2, 1000, 700),
    (Plan("blocks", (64, 32)), 2, 2, 2041, 2041),
    (Plan("blocks", (64, 64)), 1, 2, 4096, 4096),
    (Plan("passes", (3, 64, 32)), 2, 2, 6001, 6001),
    (Plan("passes", (2, 64, 64)), 1, 1, 8192, 300),
    (Plan("passes", (17, 64, 32)), 1, 1, 33_000, 40_000),
    (Plan("passes", (2, 3, 64, 32)), 1, 2, 12_001, 12_001),
]


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide column tiles make the interpreter, which walks through all programs, several times faster."""
    if not GPU:
        monkeypatch.setattr(exact, "_TILE", 1 << 15)


def operands(B: int, H: int, L: int, K: int, size: float = 1.0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(L + K)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    case = {
        "u": draw(B, H, L) * size, "taps": draw(H, K) * torch.exp(-3.0 * torch.arange(K) / K) / K**0.5,
        "skip": draw(H), "in_gate": draw(B, H, L), "out_gate": draw(B, H, L),
    }  # fmt: skip
    return {name: tensor.to(DEVICE) for name, tensor in case.items()}


def relative_error(result: Tensor, expected: Tensor) -> float:
    return float((result.double() - expected).norm() / expected.norm())


def run(case: dict[str, Any], plan: Plan) -> Tensor:
    spectrum = triton_path.prepare(case["taps"], case["u"].shape[-1], plan=plan, exact=True)
    assert spectrum.dtype == torch.float32
    return fftconv(**{**case, "taps": spectrum})


@pytest.mark.parametrize(
    ("plan", "B", "H", "L", "K"), [pytest.param(*c, id=f"{c[0]}-B{c[1]}-H{c[2]}-L{c[3]}-K{c[4]}") for c in CASES]
)
def test_every_plan_matches_the_reference(plan: Plan, B: int, H: int, L: int, K: int) -> None:
    case = operands(B, H, L, K)
    assert relative_error(run(case, plan), reference.fftconv(**case)) < TOLERANCE


@pytest.mark.parametrize("size", [1e-25, 1e-6, 1e12])
@pytest.mark.parametrize("plan", [CASES[1][0], CASES[4][0]], ids=str)
def test_signals_of_any_size(plan: Plan, size: float) -> None:
    """Float16 ends at 65,504 and at 6e-8; float32 does not."""
    case = operands(2, 2, 1000 if plan.method == "blocks" else 6001, 900, size)
    case["u"][:, 0] *= 1e3
    case["taps"] *= 1e-4
    assert relative_error(run(case, plan), reference.fftconv(**case)) < TOLERANCE


@pytest.mark.parametrize("plan", [CASES[1][0], CASES[4][0]], ids=str)
@pytest.mark.parametrize("left_out", [("skip",), ("in_gate",), ("out_gate",), ("skip", "in_gate", "out_gate")])
def test_every_operand_may_be_left_out(plan: Plan, left_out: tuple[str, ...]) -> None:
    L = 1000 if plan.method == "blocks" else 6001
    case = {name: tensor for name, tensor in operands(2, 2, L, 900).items() if name not in left_out}
    assert relative_error(run(case, plan), reference.fftconv(**case)) < TOLERANCE


@pytest.mark.parametrize("target", ["u", "in_gate", "out_gate"])
@pytest.mark.parametrize("plan", [CASES[1][0], CASES[4][0]], ids=str)
def test_strided_operands_one_of_which_is_the_result(plan: Plan, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_PLANE_BYTES", 1)  # one channel at a time
    case = operands(2, 2, 1000 if plan.method == "blocks" else 6001, 900)
    expected = reference.fftconv(**case)
    projected = torch.cat([case[name] for name in ("u", "in_gate", "out_gate")], 1)
    case.update(zip(("u", "in_gate", "out_gate"), projected.chunk(3, 1), strict=True))
    case["u"] = case["u"].transpose(1, 2).contiguous().transpose(1, 2)
    spectrum = triton_path.prepare(case["taps"], case["u"].shape[-1], plan=plan, exact=True)
    fftconv(**{**case, "taps": spectrum}, out=case[target])
    assert relative_error(case[target], expected) < TOLERANCE


@pytest.mark.parametrize("plan", [CASES[1][0], CASES[4][0]], ids=str)
def test_rows_do_not_know_of_each_other(plan: Plan) -> None:
    case = operands(3, 2, 1000 if plan.method == "blocks" else 6001, 900)
    case["u"][1] *= 1e3
    together = run(case, plan)
    alone = run({name: t[:1] if t.ndim == 3 else t for name, t in case.items()}, plan)
    assert torch.equal(together[:1], alone)


def test_smooth_filters_and_a_mean() -> None:
    """As models have them: a few large bins make the result."""
    case = operands(1, 2, 6001, 6001)
    t = torch.arange(6001, device=DEVICE) / 6001
    case["taps"] = torch.stack([torch.sin(3.0 * t + 1.0), 0.3 + 0.1 * torch.cos(9.0 * t)]) * (
        torch.exp(-3.0 * t) + 0.05
    )
    case["u"] += 1.0
    assert relative_error(run(case, CASES[4][0]), reference.fftconv(**case)) < TOLERANCE


def test_the_door_takes_precision_at_its_word() -> None:
    case = operands(2, 2, 900, 900)
    expected = reference.fftconv(**case)
    assert relative_error(fftconv(**case, backend="triton"), expected) < TOLERANCE
    assert 1e-4 < relative_error(fftconv(**case, backend="triton", precision="half"), expected) < 1e-3
    for precision, dtype in (("auto", torch.float32), ("float32", torch.float32), ("half", torch.float16)):
        spectrum = prepare(case["taps"], 900, backend="triton", precision=precision)  # type: ignore[arg-type]
        assert spectrum.dtype == dtype
    half = {name: tensor.half() if tensor.ndim == 3 else tensor for name, tensor in case.items()}
    error = relative_error(fftconv(**half, backend="triton", precision="float32"), reference.fftconv(**half))
    assert 1e-4 < error < 2.5e-4, "the rounding of the result"
    with pytest.raises(ValueError, match="no precision 'double'"):
        fftconv(**case, precision="double")  # type: ignore[arg-type]


def test_gradients_with_this_precision_go_through_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_path, "differentiable", lambda u, *_: 2.0 * u)
    case = {name: tensor.requires_grad_() for name, tensor in operands(1, 2, 100, 100).items()}
    assert torch.equal(fftconv(**case, backend="triton"), 2.0 * case["u"])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy, in the interpreter
def test_what_is_not_finite_is_named() -> None:
    case = operands(1, 2, 600, 600)
    case["u"][:, 1, 5] = float("nan")
    with pytest.raises(ConvolutionOverflowError, match="channel 1"):
        run(case, CASES[0][0])


@pytest.mark.parametrize("length", [1, 1024, 1025, 4096, 4097, 9000, 32_768, 160_002, 1_000_002, 4_194_304])
def test_plans_transform_a_whole_signal_and_waste_little(length: int) -> None:
    plan = exact_plan.choose(length)
    assert plan.n >= length
    assert plan.history == 0
    assert length < 4096 or plan.n <= 1.5 * length


def test_small_chips_get_small_tiles() -> None:
    assert exact_plan.choose(262_144).factors[-2:] == (64, 64)
    assert exact_plan.choose(262_144, 101_376).factors[-2:] == (64, 32)


def test_plans_end_where_transforms_end() -> None:
    with pytest.raises(ValueError, match="longest transform"):
        exact_plan.choose(1 << 25)


def test_auto_leaves_short_filters_of_float32_signals_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    cuda = torch.device("cuda", 0)

    def chosen(dtype: torch.dtype, length: int, taps: int) -> str:
        return choose("auto", cuda, dtype, length, taps=taps)

    assert chosen(torch.float32, 100_000, 100_000) == "triton"
    assert chosen(torch.float32, 100_000, 1000) == "torch"
    assert chosen(torch.float32, 3000, 10) == "triton"
    assert chosen(torch.float16, 100_000, 1000) == "triton"
    assert chosen(torch.float64, 100, 100) == "torch"
    assert not is_exact(torch.float32, "half")
