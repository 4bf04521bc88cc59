"""`genoconv slurm`: the script it writes, and the script on a real Slurm, where tasks are killed or run out of time."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["--model", str(ROOT / "tests" / "golden" / "tiny-d64"), "--threads", "1", "--batch-bases", "500"]
RECORDS = 32


class Finished(Protocol):
    """What the fixture `genoconv` returns."""

    code: int
    out: str
    err: str


Command = Callable[..., Finished]


def cluster_module() -> Any:
    """The module beside this one, which no package holds."""
    path = Path(__file__).with_name("slurm_cluster.py")
    spec = spec_from_file_location("slurm_cluster", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Path]:
    """A Slurm with one node, or a skip that says why there is none; the folder of its files."""
    module = cluster_module()
    reason = module.why_not()
    if reason:
        print(f"\nNOT TESTED on a real Slurm: {reason}", file=sys.__stderr__)
        pytest.skip(f"no Slurm here: {reason}")
    folder = tmp_path / "slurm"
    folder.mkdir()
    with module.running(folder):
        yield folder


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """Records of 500 bases, each a unit of its own."""
    letters = random.Random(2)
    path = tmp_path / "genes.fa"
    path.write_text("".join(f">r{index}\n{''.join(letters.choices('ACGT', k=500))}\n" for index in range(RECORDS)))
    return path


def test_the_script_says_what_was_asked(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    path = tmp_path / "job.sh"
    options = ["--shards", "8", "--gpus", "2", "--mem", "16G", "--partition", "gpu", "--sbatch=--account=me"]
    setup = ["--setup", "module load cuda", "--time", "01:00:00", "--script", str(path)]
    finished = genoconv("slurm", fasta, "--pool", "max", "-o", "my genes.h5", *options, *setup)
    assert finished.code == 0, finished.err
    words = path.read_text()
    for line in (
        "#SBATCH --array=1-8",
        "#SBATCH --gres=gpu:2",
        "#SBATCH --mem=16G",
        "#SBATCH --time=01:00:00",
        "#SBATCH --signal=USR1@90",
        "#SBATCH --requeue",
        "module load cuda",
        f"srun --cpus-per-task=4 genoconv embed {fasta} --pool max --output 'my genes.h5' --shard auto --devices all "
        "|| code=$?",
        "exec genoconv merge 'my genes.h5'",
    ):
        assert line in words.splitlines()
    assert words.count("#SBATCH --partition=gpu") == words.count("#SBATCH --account=me") == 2
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
    again = genoconv("slurm", fasta, "--script", path)
    assert again.code == 4
    assert "--force" in again.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["genes.fa", "--shard", "1/2"], "--shard is set by the script"),
        (["genes.fa", "--no-such-option"], "--no-such-option"),
        (["genes.fa", "--pool", "median"], "median"),
        (["genes.fa", "--time", "soon"], "duration"),
        (["-", "-o", "out.h5"], "stdin"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_no_job_could_do_is_refused_at_once(
    genoconv: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    finished = genoconv("slurm", *arguments)
    assert finished.code == 2
    assert words in finished.err
    assert not list(tmp_path.iterdir())


def test_without_slurm_the_script_is_kept(
    genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    finished = genoconv("slurm", fasta, "-o", tmp_path / "out.h5", "--submit")
    assert finished.code == 4
    assert "no sbatch" in finished.err
    assert (tmp_path / "out.slurm.sh").exists()


@pytest.mark.timeout(280)
def test_an_array_whose_tasks_are_killed_and_run_out_of_time_makes_the_whole(
    genoconv: Command, cluster: Path, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "slowly.py"
    program.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import genoconv.runs.compute as compute\n"
        "true = compute.compute_batch\n"
        "compute.compute_batch = lambda *arguments: (time.sleep(3), true(*arguments))[1]\n"
        "from genoconv.cli.app import main\nmain()\n"
    )
    finished = genoconv(
        *("slurm", fasta, *OPTIONS, "--commit-every", "1", "-o", tmp_path / "out.h5", "--shards", "2", "--cpus", "1"),
        *("--time", "00:01:00", "--program", f"{sys.executable} {program}", "--submit"),
    )
    assert finished.code == 0, finished.err
    job = finished.err.split("shards: job ")[1].split(";")[0]
    parts = tmp_path / "out.shard-001-of-002.h5.parts"
    wait_until(lambda: bool(list(parts.glob("part-*.npz"))), 60)
    subprocess.run(["scontrol", "requeue", f"{job}_1"], check=True)
    wait_until(lambda: not queue(), 200)
    logs = {path.name: path.read_text() for path in tmp_path.glob("out.*.log")}
    assert (tmp_path / "out.h5").exists(), logs
    assert "DUE TO JOB REQUEUE" in logs[f"out.{job}_1.log"]
    assert "interrupted by SIGUSR1" in logs[f"out.{job}_2.log"]
    assert all("going on" in logs[f"out.{job}_{task}.log"] for task in (1, 2))
    assert genoconv("embed", fasta, "-o", tmp_path / "whole.h5", *OPTIONS).code == 0
    assert_same(tmp_path / "out.h5", tmp_path / "whole.h5")


@pytest.mark.timeout(280)
def test_the_script_in_the_readme_runs(
    genoconv: Command, cluster: Path, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "bin" / "genoconv"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m genoconv "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    assert genoconv(*readme_command(), "--submit").code == 0
    wait_until(lambda: not queue(), 200)
    logs = {path.name: path.read_text() for path in tmp_path.glob("genes.*.log")}
    assert (tmp_path / "genes.h5").exists(), logs
    assert len([name for name in logs if "_" in name]) == 8
    assert genoconv("embed", fasta, "-o", tmp_path / "whole.h5").code == 0
    assert_same(tmp_path / "genes.h5", tmp_path / "whole.h5")


def assert_same(made: Path, whole: Path) -> None:
    with h5py.File(made) as one, h5py.File(whole) as other:
        assert one["X"].shape[0] == RECORDS
        assert np.array_equal(one["X"][:], other["X"][:])
        assert list(one["obs/_index"]) == list(other["obs/_index"])


def readme_command() -> list[str]:
    """The arguments of the command whose script the README shows, but for --submit."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = next(line for line in readme.splitlines() if line.startswith("genoconv slurm"))
    return command.split("#")[0].replace("--submit", "").split()[1:]


def queue() -> str:
    """What is still to be done on the cluster."""
    return subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout.strip()


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, queue()
        time.sleep(0.5)


def test_the_script_in_the_readme_is_the_one_that_is_written(
    genoconv: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert genoconv(*readme_command()).code == 0
    assert Path("genes.slurm.sh").read_text() in (ROOT / "README.md").read_text(encoding="utf-8")
