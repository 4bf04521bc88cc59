"""Rows of two blocks against float64, through the passes that they stand between; without a GPU interpreted."""

import pytest
import torch

from genoconv.kernels import reference
from genoconv.kernels.fftconv import fftconv
from genoconv.kernels.monarch.plan import Plan
from tests.kernels.test_triton_path import DEVICE, HALVES, TOLERANCE, operands, relative_error, run

pytest.importorskip("triton")
launch = pytest.importorskip("genoconv.kernels.monarch.launch")
triton_path = pytest.importorskip("genoconv.kernels.triton_path")
pytestmark = pytest.mark.usefixtures("wide_tiles")

CASES = [
    (HALVES, 2, 2, 8192, 8192),
    (HALVES, 3, 1, 8192 - 5, 4097),
    (HALVES, 1, 3, 4097, 4097),
    (Plan("passes", (3, 64, 64), 1), 1, 2, 2 * 3 * 4096 - 8, 20_000),
    (Plan("passes", (33, 64, 32), 1), 1, 1, 100_003, 100_003),
    (Plan("passes", (2, 2, 64, 32), 1), 2, 2, 16_001, 16_001),
    (Plan("passes", (2, 3, 64, 64), 1), 1, 1, 40_000, 9000),
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("plan", "B", "H", "L", "K"), [pytest.param(*c, id=f"{c[0]}-B{c[1]}-H{c[2]}-L{c[3]}-K{c[4]}") for c in CASES]
)
def test_two_blocks_match_the_reference(plan: Plan, B: int, H: int, L: int, K: int, dtype: torch.dtype) -> None:
    case = operands(B, H, L, K, dtype)
    assert relative_error(run(case, plan), reference.fftconv(**case)) < TOLERANCE[dtype]


@pytest.mark.parametrize("left_out", [("skip",), ("in_gate",), ("out_gate",), ("skip", "in_gate", "out_gate")])
def test_two_blocks_with_operands_left_out(left_out: tuple[str, ...]) -> None:
    case = {name: tensor for name, tensor in operands(2, 1, 7000, 6000).items() if name not in left_out}
    assert relative_error(run(case, HALVES), reference.fftconv(**case)) < TOLERANCE[torch.float16]


def test_each_of_two_blocks_is_accurate() -> None:
    """The skip term is a tap of the first block of the filter, and of what the second takes from it."""
    case = operands(2, 2, 8192, 8192)
    case["skip"] = torch.tensor([3.0, -6.0], device=DEVICE)
    result, expected = run(case, HALVES), reference.fftconv(**case)
    for half in (slice(0, 4096), slice(4096, 8192)):
        assert relative_error(result[..., half], expected[..., half]) < TOLERANCE[torch.float16]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("multiprocessors", [1, 3, 1000])
def test_what_waits_between_blocks_is_each_programs_own(multiprocessors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few signals by one program, the last by one with less to do, and a program each; an infinity stays alone."""
    monkeypatch.setattr(launch, "_multiprocessors", lambda device: multiprocessors)
    case = operands(2, 2, 36_000, 36_000)
    case["u"][0, 0, 7] = float("inf")
    spectrum = triton_path.prepare(case["taps"], 36_000, plan=Plan("passes", (9, 64, 32), 1))
    result = fftconv(**{**case, "taps": spectrum}, check=False)
    assert not result[0, 0].isfinite().any()
    expected = reference.fftconv(**case)
    for b, h in ((1, 0), (0, 1), (1, 1)):
        assert relative_error(result[b, h], expected[b, h]) < TOLERANCE[torch.float16]


@pytest.mark.parametrize(
    ("programs", "shape", "plan"),
    [
        (2, (3, 1, 12_000), Plan("passes", (3, 64, 32), 1)),
        (5, (3, 2, 12_000), Plan("passes", (3, 64, 32), 1)),
        (4, (2, 3, 8000), HALVES),
        (7, (2, 3, 8000), HALVES),
        (11, (3, 2, 20_481), Plan("passes", (3, 64, 64), 1)),
        (5, (1, 3, 24_000), Plan("passes", (2, 3, 64, 32), 1)),
        (8, (3, 1, 12_000), Plan("passes", (3, 64, 32), 1)),
    ],
)
def test_programs_hop_over_rows_stretches_and_channels(
    programs: int, shape: tuple[int, int, int], plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hops that end in the next stretch, in the next channel, and in both at once; some programs do less."""
    monkeypatch.setattr(launch, "_multiprocessors", lambda device: 1)
    monkeypatch.setattr(launch, "_ROWS_OF_TWO", dict.fromkeys((2048, 4096), (programs, 168)))
    B, H, L = shape
    case = operands(B, H, L, L)
    assert relative_error(run(case, plan), reference.fftconv(**case)) < TOLERANCE[torch.float16]


def test_how_the_work_is_shared_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    case, results = operands(3, 2, 12_000, 12_000), []
    for multiprocessors in (1, 2, 100):
        monkeypatch.setattr(launch, "_multiprocessors", lambda device, n=multiprocessors: n)
        results.append(run(case, Plan("passes", (3, 64, 32), 1)))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("length", [1, 3000, 4096, 4097])
def test_spectra_of_two_blocks_serve_shorter_signals(length: int) -> None:
    case = operands(2, 2, length, 8000)
    spectrum = triton_path.prepare(case["taps"], 8000, plan=HALVES)
    result = fftconv(**{**case, "taps": spectrum}, out=torch.full_like(case["u"], float("nan")))
    assert relative_error(result, reference.fftconv(**case)) < TOLERANCE[torch.float16]
