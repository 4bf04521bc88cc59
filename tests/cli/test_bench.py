"""`genoconv bench`: a table on stdout, a CSV on request, and a word about what cannot be measured."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from genoconv.cli import bench
from genoconv.kernels import calibration
from genoconv.kernels.monarch import rates


@pytest.fixture
def golden() -> Path:
    """A small model."""
    return Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"


def test_table_and_csv(genoconv: Any, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    done = genoconv("bench", "conv", "--device", "cpu", "--lengths", "64,5_000", "--taps", "50", "--csv", table)
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["length", "64", "5,000"]
    assert "torch: " in done.err
    assert [row.split(",")[0] for row in table.read_text().splitlines()] == ["length", "64", "5000"]


def test_rates_of_another_gpu_are_kept(genoconv: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="NVIDIA A30", multi_processor_count=56)
    monkeypatch.setattr(bench, "_place", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(
        calibration, "timer", lambda *_: lambda plan, _, taps: 3.0 + 4.0 * len(plan.factors) + taps / 1e7
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = genoconv("bench", "plan", "--measure")
    assert done.code == 0
    kept = tmp_path / "genoconv/rates/NVIDIA-A30.json"
    assert str(kept) in done.err
    found = rates.read(kept, "NVIDIA A30")
    assert found is not None
    assert found.programs == 112
    assert found.blocks[1024] == 11.0001024
    monkeypatch.setattr(calibration, "timer", lambda *_: lambda *_: 1.0)
    done = genoconv("bench", "plan", "--measure")
    assert done.code == 4
    assert "contradict" in done.err
    assert rates.read(kept, "NVIDIA A30") is not None


def test_gradients(genoconv: Any) -> None:
    done = genoconv("bench", "conv", "--backward", "--device", "cpu", "--lengths", "100")
    assert done.code == 0
    assert "rfft" in done.out


def test_shape_asked_for(genoconv: Any) -> None:
    done = genoconv("bench", "conv", "--device", "cpu", "--lengths", "70", "--batch", "3", "--channels", "5")
    assert done.code == 0
    assert done.out.splitlines()[1].split()[:3] == ["70", "3", "5"]


def test_sparse_beside_dense(genoconv: Any) -> None:
    done = genoconv("bench", "conv", "--device", "cpu", "--lengths", "5000", "--frequency-sparsity", "0.75")
    assert done.code == 0
    assert "1/3.5: " in done.out
    assert "x dense" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("conv", "--lengths", "10,x"), 2, "whole numbers"),
        (("conv", "--lengths", "0"), 2, "whole numbers"),
        (("conv", "--device", "cpu", "--dtype", "float16"), 2, "GPU only"),
        (("conv", "--dtype", "int8"), 2, "--dtype is one of"),
        (("conv", "--filters", "square"), 2, "--filters is random or smooth"),
        (("conv", "--frequency-sparsity", "0.5"), 2, "--frequency-sparsity is 0 or from 0.6 to"),
        (("conv", "--frequency-sparsity", "0.75", "--backward"), 2, "with all frequencies"),
        (("embed", "--lengths", "10,x"), 2, "whole numbers"),
        (("embed", "genes.fa", "--lengths", "10"), 2, "FASTA files are given"),
        (("embed", "--max-memory", "much"), 2, "--max-memory is a size"),
        (("plan", "--device", "cpu"), 4, "plans to compare"),
        (("plan", "--device", "cpu", "--measure"), 4, "plans to compare"),
    ],
)
def test_what_cannot_be_measured(genoconv: Any, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = genoconv("bench", *arguments)
    assert done.code == code
    assert message in done.err
    assert not done.out


def test_a_model_without_plain_torch(genoconv: Any, golden: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    options = ("--lengths", "300", "--device", "cpu", "--no-plain", "--csv", table)
    done = genoconv("bench", "embed", "--model", golden, *options)
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[:2]] == ["length", "300"]
    assert "plain: not asked for" in done.out
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert (row["length"], row["batch"], row["precision"], row["plain_ms"]) == ("300", "27", "high", "")
    assert float(row["memory_gib"]) > 0
    assert row["torch"]


def test_a_run_on_fasta(genoconv: Any, golden: Path, data: Path, tmp_path: Path) -> None:
    table, fasta = tmp_path / "table.csv", tmp_path / "one.fa"
    fasta.write_text((data / "genes.fa").read_text()[:500])
    done = genoconv("bench", "embed", fasta, "--model", golden, "--device", "cpu", "--csv", table)
    assert done.code == 0, done.err
    assert "model alone" in done.out
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert row["records"] == "1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.fa", "table.csv"]
