"""The Triton kernels against the float64 reference: every plan and kernel; without a GPU in Triton's interpreter."""

from typing import Any

import pytest
import torch
from torch import Tensor

from genoconv.kernels import backend_for, reference, triton_path
from genoconv.kernels.fftconv import ConvolutionOverflowError, fftconv, prepare, spectrum_bytes
from genoconv.kernels.monarch.plan import Plan
from genoconv.kernels.spectrum import Spectrum
from genoconv.model.config import HyenaConfig
from genoconv.model.filter import ImplicitFilter, Positions

GPU = torch.cuda.is_available()
pytest.importorskip("triton")
pytestmark = pytest.mark.usefixtures("wide_tiles")

DEVICE = torch.device("cuda" if GPU else "cpu")
# Largest relative L2 error. The interpreter rounds to bfloat16 towards zero, which doubles that format's own error.
TOLERANCE = {torch.float16: 1e-3, torch.float32: 1e-3, torch.bfloat16: 2.5e-3 if GPU else 5e-3}

DIRECT = Plan("direct")
SIX, SIGNALS = Plan("signals", (3, 64, 32)), Plan("signals", (2, 64, 32))
# Two blocks, and filters longer than one of them.
HALVES = Plan("passes", (2, 64, 32), 1)
BLOCKS = [Plan("blocks", factors, history) for factors in ((64, 16), (64, 32), (64, 64)) for history in (0, 1)]
CASES = [
    *[(DIRECT, *shape) for shape in ((1, 1, 1, 1), (2, 3, 7, 9), (3, 2, 300, 300), (70, 1, 129, 64), (1, 2, 1000, 65))],
    *[(plan, 2, 2, plan.n * (plan.history + 1) - 5, plan.n * (plan.history + 1)) for plan in BLOCKS],
    *[(plan, 2, 1, 6 * plan.n - 1, plan.n * plan.history) for plan in BLOCKS if plan.history],
    (BLOCKS[0], 1, 1, 9, 5),
    (Plan("passes", (3, 64, 64)), 2, 2, 3 * 4096 - 7, 3 * 4096),
    (Plan("passes", (2, 3, 64, 64)), 1, 1, 6 * 4096 - 4099, 20_000),
    (Plan("passes", (3, 64, 32)), 2, 1, 6000, 6000),
    (Plan("passes", (3, 2, 64, 32)), 1, 3, 6 * 2048, 10_000),
    (Plan("passes", (2, 64, 32)), 3, 3, 4096, 4096),
    (Plan("passes", (17, 64, 32)), 1, 1, 16 * 2048 + 8, 3000),
    (Plan("passes", (65, 64, 32)), 1, 1, 65 * 2048 - 3, 9000),
    (Plan("passes", (17, 2, 64, 32)), 1, 1, 34 * 2048 - 9, 3000),
    (Plan("passes", (33, 2, 64, 32)), 1, 1, 66 * 2048 - 9, 9000),
    (Plan("passes", (2, 64, 32), 1), 2, 2, 3 * 4096 - 8, 4096),
    (Plan("passes", (3, 64, 32), 1), 2, 1, 6144 + 7, 6000),
    (Plan("passes", (17, 64, 32), 1), 1, 1, 2 * 34_816, 20_000),
    (Plan("signals", (2, 64, 64)), 1, 1, 8192, 300),
    (Plan("signals", (3, 64, 64)), 2, 2, 3 * 4096 - 7, 3 * 4096),
    (Plan("signals", (4, 64, 32)), 3, 2, 8192, 8192),
    (Plan("signals", (7, 64, 32)), 1, 3, 7 * 2048 - 1000, 20_000),
    (Plan("signals", (5, 64, 32)), 1, 1, 5 * 2048 - 8, 3000),
    (Plan("signals", (2, 3, 64, 32)), 2, 3, 6 * 2048 - 8, 9000),
    (Plan("signals", (3, 2, 64, 64)), 1, 1, 6 * 4096 - 3, 6 * 4096),
    (DIRECT, 2, 2, 200, 200),
    (BLOCKS[0], 3, 2, 1000, 1000),
]


def operands(B: int, H: int, L: int, K: int, dtype: torch.dtype = torch.float16, mean: float = 0.0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(L + K)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    taps = draw(H, K) * torch.exp(-3.0 * torch.arange(K) / K) / K**0.5
    case = {
        "u": (draw(B, H, L) + mean).to(dtype), "taps": taps.float(), "skip": draw(H).float(),
        "in_gate": (draw(B, H, L) + mean).to(dtype), "out_gate": draw(B, H, L).to(dtype),
    }  # fmt: skip
    return {name: tensor.to(DEVICE) for name, tensor in case.items()}


def run(case: dict[str, Any], plan: Plan) -> Tensor:
    spectrum = triton_path.prepare(case["taps"], case["u"].shape[-1], plan=plan)
    out = torch.full_like(case["u"], float("nan"))
    return fftconv(**{**case, "taps": spectrum}, out=out)


def relative_error(result: Tensor, expected: Tensor) -> float:
    return float((result.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("plan", "B", "H", "L", "K"), [pytest.param(*c, id=f"{c[0]}-B{c[1]}-H{c[2]}-L{c[3]}-K{c[4]}") for c in CASES]
)
def test_every_plan_matches_the_reference(plan: Plan, B: int, H: int, L: int, K: int, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and plan.method in ("passes", "signals") and not GPU:
        B = H = 1
    case = operands(B, H, L, K, dtype)
    result = run(case, plan)
    assert result.dtype == dtype
    assert relative_error(result, reference.fftconv(**case)) < TOLERANCE[dtype]


@pytest.mark.parametrize("plan", [DIRECT, *BLOCKS[:3], Plan("passes", (2, 64, 32)), SIGNALS], ids=str)
def test_float32_signals_if_asked_for(plan: Plan) -> None:
    L = {"direct": 200, "blocks": 1000, "passes": 4000, "signals": 4000}[plan.method]
    case = operands(2, 1, L, L, torch.float32)
    result = run(case, plan)
    assert result.dtype == torch.float32
    assert relative_error(result, reference.fftconv(**case)) < TOLERANCE[torch.float32]
    assert relative_error(fftconv(**case), reference.fftconv(**case)) < 1e-5, "auto does not compute in half precision"


@pytest.mark.parametrize("plan", [DIRECT, *BLOCKS[:2], SIGNALS], ids=str)
@pytest.mark.parametrize("left_out", [("skip",), ("in_gate",), ("out_gate",), ("skip", "in_gate", "out_gate")])
def test_every_operand_may_be_left_out(plan: Plan, left_out: tuple[str, ...]) -> None:
    case = {name: tensor for name, tensor in operands(2, 2, 1500, 1024).items() if name not in left_out}
    if plan.history == 0 and plan.method == "blocks":
        case = {name: tensor[..., :1000] if tensor.ndim > 1 else tensor for name, tensor in case.items()}
    assert relative_error(run(case, plan), reference.fftconv(**case)) < TOLERANCE[torch.float16]


@pytest.mark.parametrize(
    "plan", [DIRECT, BLOCKS[1], Plan("passes", (2, 64, 64)), HALVES, Plan("signals", (2, 64, 64))], ids=str
)
def test_strided_operands(plan: Plan) -> None:
    """Views of one projection, as the model has them, and samples that do not lie side by side."""
    L = 5000 if plan.method in ("passes", "signals") else 2001
    case = operands(2, 1, L, 1024)
    expected = reference.fftconv(**case)
    names = ("u", "in_gate", "out_gate")
    projected = torch.cat([case[name] for name in names], 1)
    case.update({name: projected[:, i : i + 1] for i, name in enumerate(names)})
    assert not case["u"].is_contiguous()
    assert relative_error(run(case, plan), expected) < TOLERANCE[torch.float16]
    case["u"] = case["u"].transpose(1, 2).contiguous().transpose(1, 2)
    out = torch.empty(2, L, 1, dtype=torch.float16, device=DEVICE).transpose(1, 2)
    fftconv(**{**case, "taps": triton_path.prepare(case["taps"], L, plan=plan)}, out=out)
    assert relative_error(out, expected) < TOLERANCE[torch.float16]


@pytest.mark.parametrize("target", ["u", "in_gate", "out_gate"])
@pytest.mark.parametrize("plan", [DIRECT, BLOCKS[1], BLOCKS[2], Plan("passes", (2, 64, 64)), HALVES, SIGNALS], ids=str)
def test_out_may_be_an_operand(target: str, plan: Plan) -> None:
    case = operands(3, 1, {"passes": 6000, "signals": 4090}.get(plan.method, 2001), 1024)
    expected = reference.fftconv(**case)
    spectrum = triton_path.prepare(case["taps"], case["u"].shape[-1], plan=plan)
    result = fftconv(**{**case, "taps": spectrum}, out=case[target])
    assert result is case[target]
    assert relative_error(result, expected) < TOLERANCE[torch.float16]


@pytest.mark.parametrize("plan", [DIRECT, BLOCKS[0], SIGNALS], ids=str)
def test_impulse_gives_the_taps(plan: Plan) -> None:
    taps = operands(1, 2, 1000, 900)["taps"]
    u = torch.zeros(1, 2, 1000, dtype=torch.float16, device=DEVICE)
    u[:, :, 50] = 1.0
    result = fftconv(u, triton_path.prepare(taps, 1000, plan=plan))
    assert relative_error(result[0, :, 50:950], taps.double()) < TOLERANCE[torch.float16]
    # A transform spreads rounding over all samples, by definition; before the impulse it is all there is.
    assert result[0, :, :50].abs().max() <= 1e-3 * taps.abs().max()


@pytest.mark.parametrize("plan", [DIRECT, BLOCKS[1]], ids=str)
def test_the_future_does_not_leak_between_tiles(plan: Plan) -> None:
    case = operands(1, 1, 2000, 1024)
    before = run(case, plan)
    case["u"][:, :, 1024:] += 100.0
    after = run(case, plan)
    assert torch.equal(before[..., :1024], after[..., :1024])
    assert not torch.allclose(before[..., 1024:], after[..., 1024:], atol=1.0)


@pytest.mark.parametrize("plan", [DIRECT, BLOCKS[0], BLOCKS[1], Plan("passes", (2, 64, 32)), SIGNALS], ids=str)
def test_offsets_beyond_32_bits(plan: Plan) -> None:
    """Rows of the batch 2^31 samples apart: memory in between is never touched, and so never there on a CPU."""
    L = {"direct": 200, "blocks": 1000, "passes": 4000, "signals": 4000}[plan.method]
    case = operands(2, 2, L, L if plan.history == 0 else 900)
    expected = reference.fftconv(**case)
    apart = torch.empty((1 << 31) + 4 * L, dtype=torch.float16, device=DEVICE).as_strided(
        (2, 2, L), (1 << 31, 2 * L, 1)
    )
    apart.copy_(case["u"])
    spectrum = triton_path.prepare(case["taps"], L, plan=plan)
    result = fftconv(**{**case, "taps": spectrum, "u": apart}, out=apart)
    assert relative_error(result, expected) < TOLERANCE[torch.float16]


@pytest.mark.skipif(not GPU, reason="takes 20 GB, and hours in the interpreter")
@pytest.mark.parametrize(("B", "H", "L"), [(64, 34_000, 1000), (2, 260, 1 << 22)])
def test_more_than_two_billion_samples(B: int, H: int, L: int) -> None:
    u = torch.randn(B, H, L, dtype=torch.float16, device=DEVICE)
    assert u.numel() > 1 << 31
    taps = torch.randn(H, 900, device=DEVICE) / 30.0
    result = fftconv(u, taps)
    for b, h in ((0, 0), (0, H - 1), (B - 1, 0), (B - 1, H - 1)):
        at = slice(h, h + 1)
        expected = reference.fftconv(u[b : b + 1, at], taps[at])
        assert relative_error(result[b : b + 1, at], expected) < TOLERANCE[torch.float16]


@pytest.mark.parametrize("plan", [DIRECT, BLOCKS[1], Plan("passes", (2, 64, 32)), SIGNALS], ids=str)
def test_linear_in_the_input(plan: Plan) -> None:
    L = 3000 if plan.method in ("passes", "signals") else 1500
    cases = [operands(1, 2, L, 1024), operands(1, 2, L, 1024)]
    cases[1]["u"] = cases[1]["u"].flip(-1)
    together = cases[0] | {"u": 2.0 * cases[0]["u"] - 0.5 * cases[1]["u"]}
    apart = 2.0 * run(cases[0], plan).double() - 0.5 * run(cases[1], plan).double()
    assert relative_error(run(together, plan), apart) < 2.0 * TOLERANCE[torch.float16]


IMPLICIT = [1000, 4100, *([32_770, 160_002, 1_000_002] if GPU else [])]


@pytest.mark.parametrize("mean", [0.0, 1.0])
@pytest.mark.parametrize("l_max", IMPLICIT)
def test_filters_as_the_model_makes_them(l_max: int, mean: float) -> None:
    """Smooth, never under a twentieth of their window: few bins make the result, 19 bits apart from the rest."""
    torch.manual_seed(l_max)
    config = HyenaConfig(d_model=2, n_layer=1, d_inner=2, l_max=l_max)
    with torch.no_grad():
        taps = ImplicitFilter(config, Positions(config))(l_max).to(DEVICE)
    case = operands(1, 2, l_max, 1, mean=mean) | {"taps": taps}
    case["out_gate"] /= 4  # a million taps and a mean of 1 give up to 95,000
    expected = reference.fftconv(**case)
    assert relative_error(fftconv(**case, backend="triton"), expected) < 1.5 * TOLERANCE[torch.float16]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_planes_of_one_signal_do_not_reach_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """One program does all, in the same room; a signal with a value that is not finite leaves it full of those."""
    from genoconv.kernels.monarch import launch

    monkeypatch.setattr(launch, "_SIGNAL_PROGRAMS", 1)
    monkeypatch.setattr(launch, "_multiprocessors", lambda device: 1)
    case = operands(2, 2, 3000, 3000)
    case["u"][0, 0, 2999] = float("inf")
    spectrum = triton_path.prepare(case["taps"], 3000, plan=SIGNALS)
    result = fftconv(**{**case, "taps": spectrum}, check=False)
    assert not result[0, 0].isfinite().all()
    expected = reference.fftconv(**case)
    for b, h in ((1, 0), (0, 1), (1, 1)):
        assert relative_error(result[b, h], expected[b, h]) < TOLERANCE[torch.float16]


def test_signals_take_the_spectra_of_passes() -> None:
    case = operands(1, 2, 6000, 6000)
    made = {plan: triton_path.prepare(case["taps"], 6000, plan=plan) for plan in (SIX, Plan("passes", SIX.factors))}
    data = [spectrum.data for spectrum in made.values()]
    assert torch.equal(*data)


def test_rows_share_the_filter_and_nothing_else() -> None:
    case = operands(5, 2, 900, 900)
    together = run(case, BLOCKS[0])
    for row in range(5):
        alone = {name: t[row : row + 1] if t.ndim == 3 else t for name, t in case.items()}
        assert torch.equal(run(alone, BLOCKS[0])[0], together[row])


@pytest.mark.parametrize(
    "plan", [BLOCKS[4], Plan("passes", (2, 64, 64)), HALVES, Plan("signals", (2, 64, 64))], ids=str
)
def test_large_means_stay_finite_and_accurate(plan: Plan) -> None:
    length = plan.n * (plan.history + 1)
    case = operands(1, 1, length - 3, length, mean=2.0)
    case["taps"] = case["taps"].abs() * 0.1
    expected = reference.fftconv(**case)
    assert relative_error(run(case, plan), expected) < TOLERANCE[torch.float16]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("plan", [DIRECT, BLOCKS[2], BLOCKS[3], Plan("passes", (2, 64, 32)), HALVES, SIGNALS], ids=str)
def test_repeats_stay_finite_and_accurate(plan: Plan, dtype: torch.dtype) -> None:
    """As a trained model meets them: the same bases again and again, a quiet filter and a loud skip term."""
    L = {"direct": 300, "blocks": 2048 * (plan.history + 1)}.get(plan.method, 4096 * (plan.history + 1))
    case = operands(1, 2, L, 5000 if plan == HALVES else min(L, 2048), dtype, mean=8.0)
    repeat = {name: case[name][..., :16].repeat(1, 1, -(-L // 16))[..., :L].contiguous() for name in ("u", "in_gate")}
    case.update(repeat, skip=torch.tensor([3.0, -6.0], device=DEVICE), taps=0.1 * case["taps"])
    assert (case["u"].float() * case["in_gate"].float()).mean() > 50.0
    result = run(case, plan)
    assert relative_error(result, reference.fftconv(**case)) < TOLERANCE[dtype]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy, in the interpreter
@pytest.mark.parametrize("plan", [DIRECT, BLOCKS[0], Plan("passes", (9, 64, 32)), SIGNALS], ids=str)
def test_overflow_names_the_channels(plan: Plan) -> None:
    case = operands(1, 2, {"passes": 18_000, "signals": 4000}.get(plan.method, 800), 64)
    case["u"][:, 1, 200] = float("inf")
    spectrum = triton_path.prepare(case["taps"], case["u"].shape[-1], plan=plan)
    with pytest.raises(ConvolutionOverflowError, match="channel 1") as caught:
        fftconv(**{**case, "taps": spectrum})
    assert caught.value.channels == [1]
    result = fftconv(**{**case, "taps": spectrum}, check=False)
    assert result[:, 0].isfinite().all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_result_too_large_for_its_dtype_is_an_overflow() -> None:
    u = torch.full((1, 1, 64), 300.0, dtype=torch.float16, device=DEVICE)
    with pytest.raises(ConvolutionOverflowError):
        fftconv(u, triton_path.prepare(torch.full((1, 64), 100.0, device=DEVICE), 64, plan=DIRECT))


def test_the_door_chooses_a_plan_and_slices_spectra() -> None:
    case = operands(2, 4, 700, 700)
    expected = reference.fftconv(**case)
    assert relative_error(fftconv(**case, backend="triton"), expected) < TOLERANCE[torch.float16]
    spectrum = prepare(case["taps"], 700, dtype=torch.float16, batch=2, backend="triton")
    assert spectrum.backend == "triton"
    part = {name: t[:, 1:3] if t.ndim == 3 else t[1:3] for name, t in case.items()}
    part["taps"] = spectrum[1:3]
    assert relative_error(fftconv(**part), expected[:, 1:3]) < TOLERANCE[torch.float16]


@pytest.mark.parametrize(
    ("keep", "L", "K"), [(0.05, 1001, 1001), (0.25, 5003, 5003), (0.27, 2049, 9), (0.4, 9000, 300)]
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_frequency_sparse_matches_the_reference(keep: float, L: int, K: int, dtype: torch.dtype) -> None:
    case = operands(2, 2, L, K, dtype)
    expected = reference.fftconv(**case, keep=keep)
    case["taps"] = prepare(case["taps"], L, dtype=dtype, batch=2, backend="triton", keep=keep)
    result = fftconv(**case, out=torch.full_like(case["u"], float("nan")))
    assert relative_error(result, expected) < TOLERANCE[dtype]
    part: dict[str, Any] = {}
    for name, t in case.items():
        part[name] = t[:, 1:] if isinstance(t, Tensor) and t.ndim == 3 else t[1:]
    assert torch.equal(fftconv(**part), result[:, 1:])


@pytest.mark.parametrize("left_out", [("skip",), ("in_gate",), ("out_gate",), ("skip", "in_gate", "out_gate")])
def test_frequency_sparse_with_operands_left_out(left_out: tuple[str, ...]) -> None:
    case = {name: tensor for name, tensor in operands(2, 2, 1500, 1500).items() if name not in left_out}
    expected = reference.fftconv(**case, keep=0.25)
    case["taps"] = prepare(case["taps"], 1500, dtype=torch.float16, backend="triton", keep=0.25)
    assert relative_error(fftconv(**case), expected) < TOLERANCE[torch.float16]


@pytest.mark.parametrize("target", ["u", "in_gate", "out_gate"])
def test_frequency_sparse_into_an_operand_and_strided(target: str) -> None:
    case = operands(2, 1, 2001, 1024)
    expected = reference.fftconv(**case, keep=0.25)
    case["taps"] = prepare(case["taps"], 2001, dtype=torch.float16, backend="triton", keep=0.25)
    case["u"] = case["u"].transpose(1, 2).contiguous().transpose(1, 2)
    result = fftconv(**case, out=case[target])
    assert result is case[target]
    assert relative_error(result, expected) < TOLERANCE[torch.float16]


@pytest.mark.parametrize(
    ("plan", "length", "taps", "expected"),
    [
        (DIRECT, 500, 100, 0),
        (DIRECT, 500, 800, 500),
        (BLOCKS[0], 1000, 1000, 1024),
        (BLOCKS[0], 1000, 1001, 1000),
        (BLOCKS[1], 5000, 1024, 0),
        (BLOCKS[1], 2000, 1500, 2048),
        (Plan("passes", (3, 64, 64)), 10_000, 100, 12_288),
        (HALVES, 10_000, 4096, 0),
        (HALVES, 8000, 4097, 8192),
        (HALVES, 8000, 8001, 8000),
        (Plan("passes", (2, 2, 64, 32), 1), 16_000, 100, 16_384),
        (Plan("signals", (3, 64, 64)), 10_000, 100, 12_288),
    ],
    ids=str,
)
def test_spectra_know_how_long_a_signal_they_serve(plan: Plan, length: int, taps: int, expected: int) -> None:
    assert triton_path.prepare(torch.ones(1, taps, device=DEVICE), length, plan=plan).length == expected


def test_what_triton_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    u = torch.zeros(1, 2, 5, dtype=torch.float64, device=DEVICE)
    with pytest.raises(ValueError, match="float64"):
        fftconv(u, torch.ones(2, 3, device=DEVICE), backend="triton")
    spectrum = prepare(torch.ones(2, 3, device=DEVICE), 5, dtype=torch.float16, backend="triton")
    with pytest.raises(ValueError, match="float64"):
        fftconv(u, spectrum)
    with pytest.raises(ValueError, match="made for the triton backend"):
        fftconv(u.half(), spectrum, backend="torch")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="needs a CUDA device"):
        prepare(torch.ones(2, 3), 5, dtype=torch.float16, backend="triton")


def test_auto_means_triton_where_it_is_fast() -> None:
    assert backend_for(DEVICE, torch.float16) == ("triton" if GPU else "torch")
    assert backend_for(DEVICE, torch.float32) == ("triton" if GPU else "torch")
    assert backend_for(DEVICE, torch.float64) == "torch"


def test_empty_signals() -> None:
    u = torch.empty(0, 2, 5, dtype=torch.float16, device=DEVICE)
    assert fftconv(u, torch.ones(2, 3, device=DEVICE), backend="triton").shape == (0, 2, 5)
    assert isinstance(prepare(torch.ones(2, 3, device=DEVICE), 1, dtype=torch.float16, backend="triton"), Spectrum)


@pytest.mark.parametrize(
    ("B", "L", "K", "keep"),
    [(1, 300, 300, 1.0), (64, 1024, 1024, 1.0), (1, 8192, 8192, 1.0), (1, 20_000, 20_000, 1.0),
     (1, 300_000, 30_000, 1.0), (1, 70_000, 70_000, 0.25), (2, 700_000, 4096, 1.0)],
)  # fmt: skip
def test_bytes_are_known_before(B: int, L: int, K: int, keep: float) -> None:
    spectrum = prepare(torch.randn(2, K, device=DEVICE), L, dtype=torch.float16, batch=B, backend="triton", keep=keep)
    assert spectrum.nbytes == spectrum_bytes(2, K, L, dtype=torch.float16, batch=B, keep=keep)
