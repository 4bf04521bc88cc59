"""`genoconv doctor`: it finds what is there, what is not, and what to do about it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
import torch

from genoconv.kernels.fftconv import fftconv
from genoconv.runs import doctor


class Finished(Protocol):
    """What the fixture `genoconv` returns."""

    code: int
    out: str
    err: str


Command = Callable[..., Finished]


@pytest.fixture(autouse=True)
def a_model_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models have tests of their own; here one is enough."""
    monkeypatch.setattr(doctor, "resolve", lambda name: None)


def states(genoconv: Command, *arguments: str | Path) -> dict[str, dict[str, str]]:
    finished = genoconv("doctor", "--json", *arguments)
    told = json.loads(finished.out)
    assert told["schema"] == "genoconv-doctor"
    found = {finding["name"]: finding for finding in told["findings"]}
    assert finished.code == (4 if any(finding["state"] == "bad" for finding in found.values()) else 0)
    return found


def test_a_sound_machine_is_good_and_nothing_is_left_behind(genoconv: Command, tmp_path: Path) -> None:
    found = states(genoconv, "--folder", tmp_path)
    for name in ("versions", "kernels torch", "output folder", "locks", "hdf5", "models"):
        assert found[name]["state"] == "good", found[name]
    assert list(tmp_path.iterdir()) == []
    finished = genoconv("doctor", "--folder", tmp_path)
    assert finished.code == 0
    assert "good  kernels torch" in finished.out


def test_a_wrong_kernel_is_found(genoconv: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "fftconv", lambda u, taps, **options: fftconv(u, taps, **options) * 1.001)
    assert states(genoconv, "--folder", tmp_path)["kernels torch"]["state"] == "bad"


def test_a_folder_that_cannot_be_written(genoconv: Command, tmp_path: Path) -> None:
    found = states(genoconv, "--folder", tmp_path / "missing")
    assert found["output folder"]["state"] == "bad"
    assert "--folder" in found["output folder"]["fix"]
    assert found["hdf5"]["state"] == "bad"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
def test_a_folder_that_only_looks_writable(genoconv: Command) -> None:
    found = states(genoconv, "--folder", "/proc")
    for name in ("output folder", "locks", "hdf5"):
        assert found[name]["state"] == "bad"
        assert "nothing can be written to /proc" in found[name]["found"]
        assert "Error" not in found[name]["found"]


def test_triton_without_compiler_and_on_a_network_file_system(
    genoconv: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_file_system", lambda path: "nfs4")
    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    found = states(genoconv, "--folder", tmp_path)
    assert "C compiler" in found["triton"]["found"]
    assert "TRITON_CACHE_DIR" in found["triton cache"]["fix"]


def test_a_gpu_is_told_with_its_memory_and_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nprintf '580.1\\n580.1\\n'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name, value in (("is_available", True), ("device_count", 1), ("get_device_name", "NVIDIA Test")):
        monkeypatch.setattr(torch.cuda, name, lambda *device, value=value: value)
    for capability, state in (((9, 0), "good"), ((7, 5), "note")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, value=capability: value)
        monkeypatch.setattr(doctor, "free_memory", lambda device: 1 << 30)
        (finding,) = doctor._gpus()
        assert (finding.name, finding.state) == ("gpu 0", state)
        assert finding.found == f"NVIDIA Test, capability {capability[0]}.{capability[1]}, 1.0 GiB free, driver 580.1"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_this_pytorch_cannot_use(genoconv: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA Test'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(torch.version, "cuda", None)
    found = states(genoconv, "--folder", tmp_path)
    assert found["gpu"]["state"] == "bad"
    assert "CPU build" in found["gpu"]["found"]
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES" in states(genoconv, "--folder", tmp_path)["gpu"]["found"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert "driver" in states(genoconv, "--folder", tmp_path)["gpu"]["fix"]
