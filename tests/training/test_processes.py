"""Two processes that share each batch train the model that one process trains."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from genoconv.errors import UsageError
from genoconv.training.processes import Processes, device_here, threads_here

Spawn = Callable[..., "subprocess.Popen[str]"]

COMMAND = [
    "-m", "genoconv", "train", "--validation-fraction", "0.2", "--d-model", "16", "--layers", "2", "--l-max", "66",
    "--context", "16:0.5", "--context", "64:0.5", "--batch-bases", "320", "--learning-rate", "0.001", "--seed", "3",
    "--log-every", "3", "--validate-every", "6", "--checkpoint-every", "5", "--device", "cpu", "--threads", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "a.fa"
    path.write_text("".join(f">r{i}\n{''.join(random.choice(list('ACGTN'), 600))}\n" for i in range(5)))
    return path


def command(fasta: Path, out: Path, count: int, *more: str) -> list[str]:
    """The command that trains in so many processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    return [sys.executable, *launcher, *COMMAND, "--out", str(out), str(fasta), *more]


def trained(fasta: Path, out: Path, count: int, *more: str) -> str:
    """Trains; what was said."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(fasta, out, count, *more), capture_output=True, text=True, check=False, timeout=200, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def curve(out: Path) -> list[tuple[int, float]]:
    """Steps with their perplexities, in training, in validation and at the end."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["perplexity"]) for line in lines if line["event"] != "begin"]


def test_two_processes_train_as_one(fasta: Path, tmp_path: Path) -> None:
    trained(fasta, tmp_path / "one", 1, "--steps", "12")
    words = trained(fasta, tmp_path / "two", 2, "--steps", "12")
    assert words.count("step 12 of 12") == 1
    assert "and 1 more" in words
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert [step for step, _ in one] == [step for step, _ in two] == [3, 6, 6, 9, 12, 12]
    # Five windows of 64 are shared out as two and three; the losses are weighted by their targets.
    assert np.allclose([value for _, value in one], [value for _, value in two], rtol=1e-5)


def test_two_stopped_processes_go_on_to_the_same_bits(spawn: Spawn, fasta: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trained(fasta, whole, 2, "--steps", "250")
    running = spawn(command(fasta, parts, 2, "--steps", "250"), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    while not (parts / "checkpoint.pt").exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    _, words = running.communicate(timeout=100)
    assert running.returncode != 0
    assert "interrupted by SIGTERM" in words
    assert 0 < torch.load(parts / "checkpoint.pt", weights_only=True)["trainer"]["step"] < 250
    trained(fasta, parts, 2, "--steps", "250", "--resume")
    assert curve(parts) == curve(whole)
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_batch_is_shared_out_whole_and_evenly() -> None:
    one = Processes()
    assert list(one.share(5)) == [0, 1, 2, 3, 4]
    parts = []
    for rank in range(3):
        several = Processes()
        several.rank, several.count = rank, 3
        parts.append(several.share(8))
    assert [list(part) for part in parts] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    one.count = 3
    with pytest.raises(UsageError, match="too few for 3 processes"):
        one.share(2)


def test_each_process_has_a_gpu_and_its_part_of_the_cores() -> None:
    alone: dict[str, str] = {}
    several = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "2"}
    assert device_here("cuda:1", alone) == "cuda:1"
    assert device_here("cuda", several) == "cuda:2"
    assert device_here("cpu", several) == "cpu"
    with pytest.raises(UsageError, match="is one GPU"):
        device_here("cuda:1", several)
    assert (threads_here(16, alone), threads_here(16, several), threads_here(2, several)) == (16, 4, 1)
