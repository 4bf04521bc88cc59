"""Benchmarks: they check before they time, and write what they measured with what it was measured on."""

import csv
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch

from genoconv.kernels import backward_benchmark, benchmark
from genoconv.kernels.fftconv import fftconv

CPU = torch.device("cpu")


@pytest.mark.parametrize("filters", ["random", "smooth"])
def test_measures_and_writes(tmp_path: Path, filters: benchmark.Filters) -> None:
    row = benchmark.measure(2, 3, 1500, taps=700, dtype=torch.float32, device=CPU, filters=filters)
    assert 0.0 < row.error < 1e-5
    assert 0.0 < row.fine_error < 1e-4
    assert row.error <= row.row_error < 2e-5
    assert min(row.ms, row.torch_ms, row.copy_ms) > 0.0
    assert row.times_copy == row.ms / row.copy_ms
    assert row.times_faster == row.torch_ms / row.ms
    benchmark.write_csv(tmp_path / "table.csv", [row, row], CPU)
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert rows[0]["length"] == "1500"
    assert rows[0]["torch"] == torch.__version__


def test_wrong_results_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "fftconv", lambda **operands: fftconv(**operands) * 1.001)
    with pytest.raises(benchmark.BenchmarkError, match="relative error"):
        benchmark.measure(1, 1, 100, taps=100, dtype=torch.float32, device=CPU)


def test_one_row_may_not_be_far_off_in_the_midst_of_good_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(**operands: Any) -> torch.Tensor:
        result = fftconv(**operands)
        result[1, 0] += 2.5e-5 * result[1, 0].norm() * torch.nn.functional.one_hot(torch.tensor(3), 400)
        return result

    assert benchmark.measure(4, 8, 400, taps=9, dtype=torch.float32, device=CPU).row_error < 1e-5
    monkeypatch.setattr(benchmark, "fftconv", spoiled)
    with pytest.raises(benchmark.BenchmarkError, match=r"relative error [1-9]\.\d\de-06, of a row 2\.5\de-05"):
        benchmark.measure(4, 8, 400, taps=9, dtype=torch.float32, device=CPU)


def test_gradients_are_measured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    row = backward_benchmark.measure(2, 3, 700, taps=300, dtype=torch.float32, device=CPU)
    assert 0.0 < row.error < 1e-5
    assert 0.0 < row.fine_error < 1e-4
    assert row.plan == "rfft"
    assert min(row.ms, row.torch_ms, row.copy_ms) > 0.0
    monkeypatch.setattr(backward_benchmark, "fftconv", lambda **operands: fftconv(**operands) * 1.001)
    with pytest.raises(benchmark.BenchmarkError, match="gradients at length 100: relative error"):
        backward_benchmark.measure(1, 1, 100, taps=100, dtype=torch.float32, device=CPU)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Records the calls of functions, and of the copy, whose times are given, without those that repeat the last."""
    found: list[str] = []

    def record(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            found.append(name)
            return function(*args, **kwargs)

        return recorded

    def begin(copies: list[float], *places: tuple[Any, str]) -> list[str]:
        times = iter(copies)
        monkeypatch.setattr(benchmark, "copy_milliseconds", record("copy", lambda *_: next(times)))
        for module, name in places:
            monkeypatch.setattr(module, name, record(name, getattr(module, name)))
        return found

    return begin


@pytest.mark.parametrize("copies", [[3.0, 2.0], [2.0, 3.0]])
@pytest.mark.parametrize(("length", "keep"), [(100, 1.0), (5000, 0.25)])
def test_the_copy_is_timed_beside_the_kernel(
    calls: Callable[..., list[str]], copies: list[float], length: int, keep: float
) -> None:
    found = calls(copies, (benchmark, "fftconv"), (benchmark, "plain_torch"))
    row = benchmark.measure(1, 2, length, taps=length, dtype=torch.float32, device=CPU, keep=keep)
    dense = [] if keep == 1.0 else ["fftconv"]
    assert [name for name, _ in groupby(found)] == ["fftconv", "copy", "fftconv", "copy", *dense, "plain_torch"]
    assert row.copy_ms == 2.0


@pytest.mark.parametrize("copies", [[3.0, 2.0], [2.0, 3.0]])
def test_the_copy_is_timed_beside_the_gradients(calls: Callable[..., list[str]], copies: list[float]) -> None:
    found = calls(copies, (backward_benchmark, "_gradients"), (backward_benchmark, "_plain_torch"))
    row = backward_benchmark.measure(1, 2, 100, taps=100, dtype=torch.float32, device=CPU)
    order = ["_gradients", "copy", "_gradients", "copy", "_plain_torch", "_gradients"]
    assert [name for name, _ in groupby(found)] == order
    assert row.copy_ms == 2.0 * 7 / 4


def test_shapes_have_the_lengths_asked_for() -> None:
    assert [length for _, _, length in benchmark.shapes(CPU, [7, 1_000_003])] == [7, 1_000_003]
    for batch, channels, length in benchmark.shapes(torch.device("cuda"), None):
        assert batch * channels * length >= 1 << 23
