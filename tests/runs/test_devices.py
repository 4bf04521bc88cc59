"""Names of devices, and what the heaps of a CPU keep."""

import ctypes
import platform
import subprocess
import sys

import pytest
import torch

from genoconv.errors import EnvironmentProblem, UsageError
from genoconv.runs.devices import bound_heaps, choose_devices, own_device
from genoconv.runs.shards import Shard


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has four."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.usefixtures("four_gpus")
def test_all_gpus_a_list_or_one() -> None:
    assert [str(device) for device in choose_devices("all")] == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert [str(device) for device in choose_devices("cuda:2,cuda:0")] == ["cuda:2", "cuda:0"]
    assert [str(device) for device in choose_devices("auto")] == ["cuda:0"]
    assert [str(device) for device in choose_devices("cpu,cpu")] == ["cpu", "cpu"]
    with pytest.raises(UsageError, match="twice"):
        choose_devices("cuda:1,cuda:1")
    with pytest.raises(EnvironmentProblem):
        choose_devices("cuda:0,cuda:4")


def test_all_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentProblem, match="--devices all"):
        choose_devices("all")


@pytest.mark.usefixtures("four_gpus")
def test_processes_on_one_machine_have_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "5")
    assert own_device("auto", Shard(6, 8, "torchrun")) == "cuda:1"
    assert own_device("cpu", Shard(6, 8, "torchrun")) == "cpu"
    assert own_device("auto", Shard(6, 8, "--shard")) == "auto"


HELD = """
import ctypes, sys
import torch
from genoconv.runs.devices import bound_heaps
if sys.argv[1] == "bounded":
    bound_heaps(torch.device("cpu"), 1024)
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
def pieces(megabytes):
    found = [libc.malloc(megabytes << 20) for _ in range(20)]
    for piece in found:
        ctypes.memset(piece, 1, megabytes << 20)
    return found
before = resident()
for piece in pieces(4):
    libc.free(piece)
found = pieces(3)  # which glibc by itself now takes from the heap
last = libc.malloc(1 << 20)  # behind them
for piece in found:
    libc.free(piece)
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told so")
def test_heaps_are_bounded() -> None:
    held = {
        how: int(subprocess.run([sys.executable, "-c", HELD, how], capture_output=True, text=True, check=True).stdout)
        for how in ("as usual", "bounded")
    }
    assert held["as usual"] > 40
    assert held["bounded"] < 10


@pytest.mark.parametrize("library", ["none to be found", "another one"])
def test_another_c_library_is_left_alone(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: None) -> object:
        if library == "another one":
            return object()
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", load)
    bound_heaps(torch.device("cpu"), 1024)


def test_heaps_beside_a_gpu_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []
    monkeypatch.setattr(ctypes, "CDLL", loaded.append)
    bound_heaps(torch.device("cuda"), 1024)
    assert not loaded
