"""Gradients through the Triton kernels against float64: every plan, operand and size; without a GPU interpreted."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from genoconv.kernels import reference, triton_path
from genoconv.kernels.fftconv import ConvolutionOverflowError, fftconv
from genoconv.kernels.monarch.plan import Plan
from genoconv.kernels.monarch.ways import NARROW, WIDE

GPU = torch.cuda.is_available()
pytest.importorskip("triton")
backward = pytest.importorskip("genoconv.kernels.monarch.backward")

DEVICE = torch.device("cuda" if GPU else "cpu")
# Largest relative L2 error. The interpreter rounds to bfloat16 towards zero, which doubles that format's own error. On
# a GPU: 3.2e-4 to 6.9e-4 in float16, 1.6e-3 to 1.8e-3 in bfloat16, taps 3.3e-4 to 8.1e-4.
TOLERANCE = {torch.float16: 1e-3, torch.float32: 1e-3, torch.bfloat16: 2.5e-3}
if not GPU:
    TOLERANCE = {torch.float16: 1.5e-3, torch.float32: 1.5e-3, torch.bfloat16: 5e-3}

BLOCKS = [Plan("blocks", (64, n2)) for n2 in (16, 32, 64)]
PASSES = Plan("passes", (2, 64, 32))
CASES = [
    (BLOCKS[0], 1, 1, 1, 1),
    (BLOCKS[0], 3, 2, 65, 90),
    (BLOCKS[0], 2, 2, 1024, 1024),
    (BLOCKS[1], 2, 3, 2043, 300),
    (BLOCKS[2], 2, 1, 4001, 4001),
    (PASSES, 2, 2, 4096, 5000),
    (Plan("passes", (3, 64, 32)), 3, 2, 6001, 6001),
    (Plan("passes", (3, 64, 64)), 1, 1, 12_280, 64),
    (Plan("passes", (2, 3, 64, 32)), 1, 2, 12_000, 12_000),
]
OPERANDS = ("u", "taps", "skip", "in_gate", "out_gate")


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide column tiles make the interpreter, which walks through all programs, several times faster."""
    if not GPU:
        for ways in (table[kind] for table in (WIDE, NARROW) for kind in table if "pair" not in kind):
            for height, way in ways.items():
                monkeypatch.setitem(ways, height, replace(way, columns=512))


def operands(B: int, H: int, L: int, K: int, dtype: torch.dtype = torch.float16) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(L + K)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    taps = draw(H, K) * torch.exp(-3.0 * torch.arange(K) / K) / K**0.5
    case = {
        "u": draw(B, H, L).to(dtype), "taps": taps.float(), "skip": draw(H).float(),
        "in_gate": draw(B, H, L).to(dtype), "out_gate": draw(B, H, L).to(dtype), "dy": draw(B, H, L).to(dtype),
    }  # fmt: skip
    return {name: tensor.to(DEVICE) for name, tensor in case.items()}


def exact(case: dict[str, Any]) -> dict[str, Tensor]:
    """The gradients of all operands, in float64."""
    leaves = {name: case[name].double().requires_grad_() for name in OPERANDS if name in case}
    found = torch.autograd.grad(reference.fftconv(**leaves), list(leaves.values()), case["dy"].double())
    return dict(zip(leaves, found, strict=True))


def through_triton(case: dict[str, Any], **options: Any) -> dict[str, Tensor]:
    leaves = {name: case[name].detach().requires_grad_() for name in OPERANDS if name in case}
    y = fftconv(**leaves, backend="triton", **options)
    return dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), case["dy"]), strict=True))


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], dtype: torch.dtype) -> None:
    for name, gradient in wanted.items():
        close = TOLERANCE[torch.float32 if name in ("taps", "skip") else dtype]
        norm = gradient.norm()
        if name == "skip":
            # One tap at lag 0 for each channel: its error is that of a tap, and does not average out over so few.
            norm = torch.maximum(norm, 3.0 * (wanted["taps"].square().mean() * len(gradient)).sqrt())
        assert (found[name].double() - gradient).norm() <= close * norm, name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("plan", "B", "H", "L", "K"), [pytest.param(*c, id=f"{c[0]}-B{c[1]}-H{c[2]}-L{c[3]}-K{c[4]}") for c in CASES]
)
def test_every_plan_matches_the_reference(
    plan: Plan, B: int, H: int, L: int, K: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backward, "choose", lambda *_: plan)
    case = operands(B, H, L, K, dtype)
    found = through_triton(case)
    assert {name: gradient.dtype for name, gradient in found.items()} == {name: case[name].dtype for name in OPERANDS}
    assert_close(found, exact(case), dtype)


@pytest.mark.parametrize("plan", [BLOCKS[0], PASSES], ids=str)
@pytest.mark.parametrize("left_out", [("skip",), ("in_gate",), ("out_gate",), ("skip", "in_gate", "out_gate")])
def test_every_operand_may_be_left_out(plan: Plan, left_out: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "choose", lambda *_: plan)
    L = 1000 if plan.method == "blocks" else 3000
    case = {name: tensor for name, tensor in operands(2, 1, L, L).items() if name not in left_out}
    assert_close(through_triton(case), exact(case), torch.float16)


@pytest.mark.parametrize("plan", [BLOCKS[0], PASSES], ids=str)
def test_strided_operands_and_expanded_gradients(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views of one projection, as the model has them, and what sum() sends back."""
    monkeypatch.setattr(backward, "choose", lambda *_: plan)
    case = operands(2, 2, 1000 if plan.method == "blocks" else 3000, 900)
    projected = torch.cat([case[name] for name in ("u", "in_gate", "out_gate")], 1)
    case.update(zip(("u", "in_gate", "out_gate"), projected.chunk(3, 1), strict=True))
    assert not case["u"].is_contiguous()
    case["dy"] = torch.ones((), dtype=torch.float16, device=DEVICE).expand(case["u"].shape)
    assert_close(through_triton(case), exact(case), torch.float16)
    case["dy"] = operands(2, 2, case["u"].shape[-1], 1)["dy"].transpose(1, 2).contiguous().transpose(1, 2)
    assert_close(through_triton(case), exact(case), torch.float16)


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e6])
@pytest.mark.parametrize("plan", [BLOCKS[0], PASSES], ids=str)
def test_gradients_of_any_size(plan: Plan, size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss averaged over many tokens has gradients far below float16's range; bfloat16 holds them."""
    monkeypatch.setattr(backward, "choose", lambda *_: plan)
    case = operands(2, 2, 1000 if plan.method == "blocks" else 3000, 900, torch.bfloat16)
    case["dy"] = (case["dy"] * size).bfloat16()
    case["dy"][:, 0] *= 1e3  # each channel has a range of its own
    assert_close(through_triton(case), exact(case), torch.bfloat16)


@pytest.mark.parametrize("plan", [BLOCKS[1], PASSES], ids=str)
def test_repeats_stay_finite_and_accurate(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bases again and again, as a trained model meets them: a large mean, and a skip term louder than taps."""
    monkeypatch.setattr(backward, "choose", lambda *_: plan)
    case = operands(1, 2, plan.n, plan.n, torch.bfloat16)
    for name in ("u", "in_gate"):
        case[name] = (case[name][..., :16] + 4.0).repeat(1, 1, plan.n // 16)
    case["taps"] *= 0.1
    case["skip"] = torch.tensor([3.0, -6.0], device=DEVICE)
    assert_close(through_triton(case), exact(case), torch.bfloat16)


def test_the_largest_gradients_stay_finite() -> None:
    """One loud sample among silence, and a gradient that is the same everywhere."""
    case = operands(1, 2, 1000, 1000, torch.bfloat16)
    case["dy"].zero_()[:, 0, 500] = 1e4
    case["dy"][:, 1] = 3.0
    case["out_gate"] = case["out_gate"].abs()
    assert_close(through_triton(case), exact(case), torch.bfloat16)


@pytest.mark.skipif(not GPU, reason="takes 60 GB, and hours in the interpreter")
@pytest.mark.parametrize(("B", "H", "L"), [(64, 34_000, 1000), (2, 260, 1 << 22)])
def test_more_than_two_billion_samples(B: int, H: int, L: int) -> None:
    u, gate, dy = (torch.randn(B, H, L, dtype=torch.float16, device=DEVICE) for _ in range(3))
    assert u.numel() > 1 << 31
    case = {"u": u, "taps": torch.randn(H, 900, device=DEVICE) / 30.0, "in_gate": gate}
    found = through_triton(case | {"dy": dy})
    for h in (0, H - 1):
        at = slice(h, h + 1)
        cut = {name: tensor[at] if name == "taps" else tensor[:, at] for name, tensor in (case | {"dy": dy}).items()}
        own = {name: tensor[at] if name == "taps" else tensor[:, at] for name, tensor in found.items()}
        assert_close(own, exact(cut), torch.float16)


def test_gradients_are_the_same_every_time() -> None:
    case = operands(5, 2, 700, 700)
    first, second = through_triton(case), through_triton(case)
    assert all(torch.equal(first[name], second[name]) for name in OPERANDS)


def test_the_past_is_not_blamed_by_blocks_for_what_cannot_come_from_it() -> None:
    """Causality backwards: a gradient at sample n reaches no operand of a later sample, up to rounding."""
    case = operands(1, 1, 1000, 1000)
    del case["skip"]
    case["dy"][..., 300:] = 0
    found = through_triton(case)
    assert found["u"][..., 300:].abs().max() <= 2e-3 * found["u"].abs().max()
    assert (found["out_gate"][..., 300:] == 0).all()


@pytest.mark.parametrize(("batch", "kept"), [(1, False), (3, True)])
def test_the_spectrum_is_kept_if_it_is_no_larger_than_the_signals(
    batch: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (backward, triton_path):
        monkeypatch.setattr(module, "choose", lambda *_: PASSES)
    case = {name: operands(batch, 1, 3000, 3000)[name].requires_grad_() for name in OPERANDS}
    y = fftconv(**case, backend="triton")
    assert y.grad_fn is not None
    assert (y.grad_fn.saved_tensors[-1] is not None) == kept  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy, in the interpreter
def test_overflow_is_an_error_unless_it_came_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    case = operands(1, 2, 600, 600)
    case["dy"][:, 1, 5] = float("inf")
    found = through_triton(case)
    assert not found["u"][:, 1].isfinite().all(), "a loss scaler looks for this"
    assert found["u"][:, 0].isfinite().all()
    case = operands(1, 2, 600, 600)
    case["dy"][:, 1] = 6e4
    case["out_gate"][:, 1] = 3e4
    with pytest.raises(ConvolutionOverflowError, match="channel 1"):
        through_triton(case)
    assert not through_triton(case, check=False)["u"].isfinite().all()


def test_second_derivatives_are_refused() -> None:
    case = {name: operands(1, 1, 100, 100)[name].requires_grad_() for name in OPERANDS}
    y = fftconv(**case, backend="triton")
    (du,) = torch.autograd.grad(y.float().sum(), case["u"], create_graph=True)
    with pytest.raises(RuntimeError, match=r"does not require grad|once_differentiable"):
        du.float().sum().backward()


def test_plans_for_gradients_transform_a_whole_signal() -> None:
    for length in (1, 100, 1024, 1025, 4096, 4097, 10_007, 32_768, 1_000_002, 4_194_304):
        plan = backward.choose(4, 64, length)
        assert plan.n >= length
        assert plan.history == 0
