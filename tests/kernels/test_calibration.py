"""Rates from timed plans: a GPU of known speed is measured exactly, and times that cannot be are refused."""

from dataclasses import asdict, replace
from math import prod

import pytest
import torch

from genoconv.kernels import benchmark, calibration, triton_path
from genoconv.kernels.benchmark import BenchmarkError
from genoconv.kernels.calibration import measure
from genoconv.kernels.monarch.plan import H200, Plan, Rates, paired, tile

TWICE_AS_SLOW = replace(
    H200,
    device="a GPU",
    direct=(4.6, 0.0076),
    **{  # type: ignore[arg-type]
        name: {key: 2.0 * rate for key, rate in getattr(H200, name).items()}
        for name in (
            "blocks",
            "history",
            "outer",
            "middle",
            "pair",
            "inner",
            "signals",
            "radix",
            "nested",
            "nested_radix",
            "before",
        )
    },
    programs=40,
)


class FakeGPU:
    """Takes exactly as long as its rates say."""

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self.timed = 0

    def __call__(self, plan: Plan, length: int, taps: int) -> float:
        self.timed += 1
        rates = self.rates
        if plan.method == "direct":
            return rates.direct[0] + rates.direct[1] * taps
        assert length == plan.n * (plan.history + 1)
        if plan.method == "blocks":
            return rates.blocks[plan.n] + plan.history * rates.history[plan.n]
        if plan.method == "signals":
            row = prod(plan.factors[-2:])
            few = plan.factors[-3]
            if len(plan.factors) == 3:
                return rates.signals[row] + few * rates.radix[row]
            return rates.outer[tile(plan.factors[0])] + rates.nested[row] + few * rates.nested_radix[row]
        rows = rates.inner[prod(plan.factors[-2:])] + (rates.before[plan.parts(taps)] if plan.history else 0.0)
        first, *second = map(tile, plan.factors[:-2])
        if second and paired(*plan.factors[:2]):
            return rows + rates.pair[first * second[0]]
        return rows + rates.outer[first] + sum(rates.middle[t] for t in second)


def plain(rates: Rates) -> dict[str, object]:
    """Rounded, and with tables as lists."""
    return {
        name: [round(v, 9) for v in (value.values() if isinstance(value, dict) else value)]
        if isinstance(value, dict | tuple)
        else value
        for name, value in asdict(rates).items()
    }


@pytest.mark.parametrize("rates", [replace(H200, device="a GPU"), TWICE_AS_SLOW], ids=["H200", "slow"])
def test_a_gpu_of_known_speed(rates: Rates) -> None:
    gpu = FakeGPU(rates)
    assert plain(measure(gpu, device="a GPU", multiprocessors=rates.programs // 2)) == plain(rates)
    assert gpu.timed <= 28


def test_contradicting_times_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="contradict"):
        measure(lambda plan, *_: 1.0 if len(plan.factors) == 4 else 5.0, device="a GPU", multiprocessors=1)


def test_plans_are_timed_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    calls: list[str] = []
    monkeypatch.setattr(calibration, "_SAMPLES", 64)
    monkeypatch.setattr(calibration, "fftconv", lambda **_: calls.append("convolved"))
    monkeypatch.setattr(triton_path, "prepare", lambda *_, plan: calls.append(str(plan)))
    monkeypatch.setattr(benchmark, "milliseconds", lambda run, _: run() or 2e-6)
    each = calibration.timer(torch.device("cpu"), said.append)(Plan("direct"), 16, 8)
    assert each == pytest.approx(2e-6 * 1e9 / 64)
    assert calls == ["direct", "convolved"]
    assert "31.25 ps" in said[0]
