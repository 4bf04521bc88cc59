"""Rows of the table: checked before they are timed; here on a small model, in this process."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from genoconv.errors import EnvironmentProblem, GenoconvError
from genoconv.kernels.backends import triton_obstacle
from genoconv.measuring import model as module
from genoconv.measuring.cost import Cost
from genoconv.measuring.model import Case, Fast, check, deviation, measure, shapes
from genoconv.measuring.plain import plain_states
from genoconv.model.config import HyenaConfig

CPU = torch.device("cpu")
TINY = Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read once, when Triton is imported


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def call(work: Callable[[Case], Any], case: Case, device: torch.device) -> Any:
        return work(case)

    monkeypatch.setattr(module, "alone", call)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def case(length: int = 200, batch: int = 2, precision: str = "auto", model: Path | None = TINY) -> Case:
    return Case(length=length, batch=batch, model=model, device=CPU, precision=precision, threads=2)


def test_a_row() -> None:
    row = measure(case())
    assert (row.length, row.batch, row.precision, row.threads) == (200, 2, "high", 2)
    assert row.error < 1e-5
    assert row.cosine > 0.99999
    assert row.plain_ms is not None
    assert row.times_faster == pytest.approx(row.plain_ms / row.ms)
    assert row.bases_per_s == pytest.approx(400 / row.ms * 1e3)
    assert row.spectra_gib > 0
    assert "convolution" in row.shares


def test_states_that_are_off_are_an_error_before_anything_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Case) -> Fast:
        raise AssertionError

    monkeypatch.setattr(module, "plain_states", lambda model, ids: plain_states(model, ids) * 1.0001)
    monkeypatch.setattr(module, "time_fast", never)
    with pytest.raises(GenoconvError, match=r"relative error 1\.0e-04"):
        measure(case())


def test_plain_torch_without_memory_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def once(model: Any, ids: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise torch.cuda.OutOfMemoryError
        return plain_states(model, ids)

    monkeypatch.setattr(module, "plain_states", once)
    row = measure(case())
    assert (row.plain_ms, row.plain_note, row.times_faster) == (None, "out of memory", None)


def test_plain_torch_in_a_process_that_was_killed_does_not_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: Case) -> tuple[Cost | None, str]:
        raise EnvironmentProblem("killed")

    monkeypatch.setattr(module, "time_plain", killed)
    assert measure(case()).plain_note == "killed"


def test_only_a_part_of_many_bases_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Size] = []

    def told(model: Any, ids: Any) -> Any:
        seen.append(ids.shape)
        return plain_states(model, ids)

    monkeypatch.setattr(module, "plain_states", told)
    monkeypatch.setattr(module, "CHECKED_BASES", 150)
    assert check(case(length=60, batch=4)).error < 1e-5
    assert check(case(length=200, batch=2)).error < 1e-5
    assert seen == [(2, 60), (1, 150)]


def test_half_precision_against_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    if triton_obstacle(CPU, torch.float16, 8):
        pytest.skip("needs Triton's interpreter")
    monkeypatch.setattr(module, "LARGE", HyenaConfig(d_model=16, n_layer=1, d_inner=32, l_max=16))
    module._model.cache_clear()
    found = check(case(length=9, batch=1, precision="half", model=None))
    module._model.cache_clear()
    assert found.precision == "half"
    assert 0 < found.error < 3e-3
    assert found.cosine > 0.99999


def test_half_precision_of_a_cpu_beside_plain_torch_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genoconv.model.half.interpreted", lambda: False)
    monkeypatch.setattr("genoconv.model.products._has_bfloat16", lambda: True)
    assert measure(case()).plain_half_ms is None
    row = measure(case(precision="half"))
    assert row.precision == "half"
    assert 1e-5 < row.error < 6e-3
    assert row.plain_ms is not None
    assert row.plain_half_ms is not None
    assert measure(case(precision="half"), plain=False).plain_half_ms is None


def test_deviation() -> None:
    wanted = torch.ones(2, 5, 4)
    error, cosine = deviation(wanted, wanted)
    assert error == 0
    assert cosine == pytest.approx(1)
    found = wanted.clone()
    found[1, :, 2:] = -1.0
    error, cosine = deviation(found, wanted)
    assert error == pytest.approx(1.0)
    assert cosine == pytest.approx(0.0)


def test_shapes() -> None:
    gpu = torch.device("cuda", 0)
    assert list(shapes(gpu, None, None))[:2] == [(1024, 64), (32_768, 4)]
    assert list(shapes(gpu, None, None))[-1] == (4_194_304, 1)
    assert list(shapes(gpu, [1024, 2048, 1_000_000], None)) == [(1024, 64), (2048, 64), (1_000_000, 1)]
    assert list(shapes(CPU, [500, 1024], None)) == [(500, 16), (1024, 8)]
    assert list(shapes(CPU, [500], 3)) == [(500, 3)]
