"""The door: every shape, dtype, gate and way of holding the filters, against the float64 reference; and its checks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from genoconv.kernels import backend_for, reference, torch_path
from genoconv.kernels import fftconv as door
from genoconv.kernels.fftconv import fftconv, prepare, spectrum_bytes

# Largest error relative to the largest value of the float64 reference; float16 and bfloat16 are their own rounding.
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6, torch.float16: 6e-4, torch.bfloat16: 5e-3}

SHAPES = [
    pytest.param(B, H, L, K, id=f"B{B}-H{H}-L{L}-K{K}")
    for B, H, L, K in [
        (1, 1, 1, 1), (1, 3, 1, 5), (2, 3, 2, 1), (3, 2, 7, 3), (2, 5, 31, 64), (1, 4, 127, 127), (2, 3, 255, 256),
        (2, 2, 1000, 999), (1, 3, 1023, 1026), (2, 2, 1026, 17), (1, 2, 4099, 4099), (2, 1, 5000, 700),
        (1, 2, 9973, 3), (1, 2, 20011, 20013), (1, 1, 40001, 30011), (7, 33, 65, 65),
    ]
]  # fmt: skip


def operands(B: int, H: int, L: int, K: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed + L + K)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    decay = torch.exp(-3.0 * torch.arange(K) / K).to(dtype)
    return {
        "u": draw(B, H, L), "taps": draw(H, K) * decay / K**0.5, "skip": draw(H), "in_gate": draw(B, H, L),
        "out_gate": draw(B, H, L),
    }  # fmt: skip


def assert_close(result: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    error = (result.double() - expected).abs().max().item()
    assert error <= TOLERANCE[dtype] * max(expected.abs().max().item(), 1.0), f"largest error {error:.2e}"


@pytest.mark.parametrize(("B", "H", "L", "K"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fftconv_matches_reference(B: int, H: int, L: int, K: int, dtype: torch.dtype) -> None:
    case = operands(B, H, L, K, dtype)
    expected = reference.fftconv(**case)
    result = fftconv(**case)
    assert result.dtype == dtype
    assert_close(result, expected, dtype)
    spectrum = prepare(case.pop("taps"), L)
    assert_close(fftconv(taps=spectrum, **case), expected, dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    case = operands(2, 3, 300, 200, dtype)
    result = fftconv(**case)
    assert result.dtype == dtype
    assert_close(result, reference.fftconv(**case), dtype)


@pytest.mark.parametrize("left_out", [("skip",), ("in_gate",), ("out_gate",), ("skip", "in_gate", "out_gate")])
def test_every_operand_may_be_left_out(left_out: tuple[str, ...]) -> None:
    case = {name: tensor for name, tensor in operands(2, 3, 129, 65).items() if name not in left_out}
    assert_close(fftconv(**case), reference.fftconv(**case), torch.float32)


@pytest.mark.parametrize("target", ["u", "in_gate", "out_gate"])
def test_out_may_be_an_operand(target: str) -> None:
    case = operands(3, 40, 3000, 2000)
    expected = reference.fftconv(**case)
    result = fftconv(**case, out=case[target])
    assert result is case[target]
    assert_close(result, expected, torch.float32)


def test_strided_operands() -> None:
    case = operands(2, 6, 500, 300)
    expected = reference.fftconv(**case)
    strided = {
        name: tensor.transpose(1, 2).contiguous().transpose(1, 2) if tensor.ndim == 3 else tensor
        for name, tensor in case.items()
    }
    assert not strided["u"].is_contiguous()
    assert_close(fftconv(**strided), expected, torch.float32)


@pytest.mark.parametrize("plan", [(1024, 512, 6), (2048, 1024, 3), (4096, 1097, 1), (6000, 3001, 1), (8192, 5193, 1)])
def test_every_plan_gives_the_same(plan: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_path, "plan_transform", lambda *_: torch_path.TransformPlan(*plan))
    case = operands(2, 3, 7001, 3000)
    assert_close(fftconv(**case), reference.fftconv(**case), torch.float32)


@pytest.mark.parametrize(("taps", "length"), [(1, 1), (5, 5), (1026, 1026), (1000, 4_000_000), (1_000_002, 4_194_304)])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_plans_cover_all_taps_without_wrapping(taps: int, length: int, device: str) -> None:
    plan = torch_path.plan_transform(taps, length, device)
    if plan.parts == 1:
        assert plan.hop + taps - 1 <= plan.n
    else:
        assert plan.hop * 2 == plan.n
        assert plan.parts * plan.hop >= taps


def test_spectrum_serves_shorter_signals_and_refuses_longer_ones() -> None:
    case = operands(1, 2, 2000, 3000)
    taps = case.pop("taps")
    spectrum = prepare(taps, 1500)
    assert spectrum.nbytes == spectrum_bytes(2, 3000, 1500)
    short = {name: tensor[..., :700] if tensor.ndim == 3 else tensor for name, tensor in case.items()}
    assert_close(fftconv(taps=spectrum, **short), reference.fftconv(taps=taps, **short), torch.float32)
    with pytest.raises(ValueError, match="up to 1500 samples"):
        fftconv(taps=spectrum, **case)


def test_spectrum_of_short_filters_serves_any_length() -> None:
    case = operands(1, 2, 9000, 100)
    taps = case.pop("taps")
    spectrum = prepare(taps, 500)
    assert_close(fftconv(taps=spectrum, **case), reference.fftconv(taps=taps, **case), torch.float32)


def test_gradients() -> None:
    case = {name: tensor.requires_grad_() for name, tensor in operands(2, 2, 13, 9, torch.float64).items()}
    names = list(case)

    def run(*tensors: Tensor) -> Tensor:
        named: dict[str, Any] = dict(zip(names, tensors, strict=True))
        return fftconv(**named)

    assert torch.autograd.gradcheck(run, tuple(case.values()))
    long = operands(1, 2, 13, 20, torch.float64)
    assert torch.autograd.gradcheck(lambda taps: fftconv(long["u"], taps), (long["taps"].requires_grad_(),))


def test_gradients_and_inference_agree() -> None:
    case = operands(2, 3, 700, 701)
    inference = fftconv(**case)
    case["taps"].requires_grad_()
    assert_close(fftconv(**case).detach(), inference.double(), torch.float32)


def test_impulse_gives_the_taps() -> None:
    taps = operands(1, 4, 900, 700)["taps"]
    u = torch.zeros(1, 4, 900)
    u[:, :, 50] = 1.0
    expected = torch.zeros(1, 4, 900)
    expected[:, :, 50:750] = taps
    assert torch.allclose(fftconv(u, taps), expected, atol=1e-7)


def test_linear_in_the_input() -> None:
    a, b = operands(1, 2, 3001, 2000, torch.float64), operands(1, 2, 3001, 2000, torch.float64, seed=1)
    together = fftconv(2.0 * a["u"] - 3.0 * b["u"], a["taps"])
    apart = 2.0 * fftconv(a["u"], a["taps"]) - 3.0 * fftconv(b["u"], a["taps"])
    assert torch.allclose(together, apart, atol=1e-12)


def test_causal() -> None:
    case = operands(1, 2, 6001, 6001)
    before = fftconv(case["u"], case["taps"])
    case["u"][:, :, 4000:] += 100.0
    after = fftconv(case["u"], case["taps"])
    assert torch.allclose(before[..., :4000], after[..., :4000], atol=2e-4)
    assert not torch.allclose(before[..., 4000:], after[..., 4000:], atol=1.0)


def test_rows_share_the_filter_and_nothing_else() -> None:
    case = operands(5, 3, 1500, 900)
    together = fftconv(case["u"], case["taps"])
    for row in range(5):
        alone = fftconv(case["u"][row : row + 1], case["taps"])
        assert torch.allclose(together[row], alone[0], atol=1e-6)


def test_empty_signals() -> None:
    assert fftconv(torch.empty(0, 2, 5), torch.ones(2, 3)).shape == (0, 2, 5)
    assert fftconv(torch.empty(2, 2, 0), torch.ones(2, 3)).shape == (2, 2, 0)
    taps = torch.ones(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(fftconv(torch.empty(0, 2, 5), taps).sum(), taps)
    assert (gradient == 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"u": torch.zeros(2, 5)}, r"u must be \(B, H, L\)"),
        ({"u": torch.zeros(1, 2, 5, dtype=torch.int64)}, "floating point"),
        ({"taps": torch.zeros(3, 4)}, r"taps must be \(2, K\)"),
        ({"taps": torch.zeros(2, 0)}, "K >= 1"),
        ({"taps": prepare(torch.ones(3, 4), 5)}, "3 channels"),
        ({"taps": prepare(torch.ones(2, 4, dtype=torch.float64), 5)}, "float64"),
        ({"skip": torch.zeros(3)}, "skip must be"),
        ({"in_gate": torch.zeros(1, 2, 4)}, "in_gate must have"),
        ({"out_gate": torch.zeros(2, 5)}, "out_gate must have"),
        ({"out": torch.zeros(1, 2, 6)}, "out must have"),
        ({"out": torch.zeros(1, 2, 5, dtype=torch.float64)}, "dtype"),
        ({"backend": "abacus"}, "abacus"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments = {"u": torch.zeros(1, 2, 5), "taps": torch.zeros(2, 3), **changes}
    with pytest.raises(ValueError, match=message):
        fftconv(**arguments)


def test_gradients_through_a_spectrum_are_refused() -> None:
    u = torch.zeros(1, 2, 5, requires_grad=True)
    with pytest.raises(ValueError, match="carries no gradient"):
        fftconv(u, prepare(torch.ones(2, 3), 5))


@pytest.mark.parametrize(("taps", "length"), [(torch.ones(3), 5), (torch.ones(2, 0), 5), (torch.ones(2, 3), 0)])
def test_prepare_refuses(taps: Tensor, length: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        prepare(taps, length)
    assert "torch" in door.BACKENDS


def test_backend_is_announced() -> None:
    assert backend_for("cpu", torch.float32) == "torch"
    assert backend_for(torch.device("cpu"), torch.float16) == "torch"
