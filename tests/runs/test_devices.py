"""Names of devices."""

import pytest
import torch

from genoconv.errors import EnvironmentProblem, UsageError
from genoconv.runs.devices import choose_devices, own_device
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
