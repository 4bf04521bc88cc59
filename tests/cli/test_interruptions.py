"""Runs that are killed, stopped or hindered, and started again: nothing committed is lost, nothing is there twice."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests" / "golden" / "tiny-d64"
SIGNALS = [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGUSR2, 75), (signal.SIGINT, 130)]
"""What ends a run, and the exit code then."""
OPTIONS = ["--model", str(MODEL), "--threads", "1", "--batch-bases", "1500"]


class Finished(Protocol):
    """What the fixture `genoconv` returns."""

    code: int
    out: str
    err: str


Command = Callable[..., Finished]
Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """A hundred records, of about two seconds' work."""
    letters = random.Random(5)
    path = tmp_path / "genes.fa"
    lengths = [letters.randint(1, 900) for _ in range(100)]
    path.write_text(
        "".join(f">r{index}\n{''.join(letters.choices('ACGTN', k=k))}\n" for index, k in enumerate(lengths))
    )
    return path


def contents(path: Path) -> dict[str, Any]:
    """Every dataset of a file but the provenance, as bytes, and every attribute but the checksum of the structure."""
    found: dict[str, Any] = {}

    def note(name: str, node: Any) -> None:
        if "provenance" not in name:
            value = node[()] if isinstance(node, h5py.Dataset) else b""
            found[name] = value.tolist() if isinstance(value, np.ndarray) and value.dtype.hasobject else bytes(value)
            found[f"{name} attributes"] = {key: np.asarray(text).tolist() for key, text in node.attrs.items()}

    with h5py.File(path) as file:
        file.visititems(note)
    return found


@pytest.fixture
def start(spawn: Spawn) -> Spawn:
    """Start a run in a process of its own, each of whose units takes `slow` seconds more, and says so on stdout."""

    def start(fasta: Path, out: Path, *options: str, slow: float = 0.0) -> "subprocess.Popen[str]":
        program = (
            "import sys, time\n"
            "import genoconv.runs.compute as compute\n"
            "true = compute.compute_batch\n"
            "def slowly(*arguments):\n"
            f"    print('computing', flush=True)\n    time.sleep({slow})\n    return true(*arguments)\n"
            "compute.compute_batch = slowly\n"
            "from genoconv.cli.app import main\nmain()\n"
        )
        command = [sys.executable, "-c", program, "embed", str(fasta), "-o", str(out), *OPTIONS, *options]
        return spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return start


@pytest.fixture
def start_on_two(spawn: Spawn) -> Spawn:
    """Start a run whose two processes take 0.2 s more for each unit; returns when the first part is there."""

    def start(fasta: Path, out: Path, *options: str) -> "subprocess.Popen[str]":
        program = out.with_suffix(".py")  # each process imports the file that the first one runs
        program.write_text(
            "import time\n"
            "import genoconv.runs.compute as compute\n"
            "true = compute.compute_batch\n"
            "compute.compute_batch = lambda *arguments: (time.sleep(0.2), true(*arguments))[1]\n"
            "if __name__ == '__main__':\n"
            "    from genoconv.cli.app import main\n"
            "    main()\n"
        )
        command = [sys.executable, str(program), "embed", str(fasta), "-o", str(out), *OPTIONS]
        process = spawn(
            [*command, "--devices", "cpu,cpu", "--commit-every", "0", *options],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            process_group=0,
        )
        while not list(parts_of(out)) and process.poll() is None:
            time.sleep(0.02)
        return process

    return start


def parts_of(out: Path) -> list[Path]:
    """The parts of an output that are committed."""
    return sorted(out.with_name(out.name + ".parts").glob("part-*.npz"))


def wait_for_units(process: "subprocess.Popen[str]", count: int) -> None:
    """Return when so many units have begun."""
    assert process.stdout is not None
    for _ in range(count):
        assert process.stdout.readline() == "computing\n"


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_been(
    genoconv: Command, fasta: Path, tmp_path: Path, start: Spawn
) -> None:
    whole, out = tmp_path / "whole.h5", tmp_path / "out.h5"
    assert genoconv("embed", fasta, "-o", whole, *OPTIONS, "--tokens").code == 0
    moments = random.Random(1)
    committed: set[str] = set()
    for _ in range(10):
        process = start(fasta, out, "--tokens", "--commit-every", "0.1", slow=0.15)  # more than ten times 0.4 s in all
        wait_for_units(process, 1)
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        process.communicate()
        now = {path.name for path in (tmp_path / "out.h5.parts").glob("part-*.npz")}
        assert committed <= now or out.exists()
        committed |= now
    assert committed
    finished = genoconv("embed", fasta, "-o", out, *OPTIONS, "--tokens")
    assert finished.code == 0, finished.err
    for name in ("out.h5", "out.tokens.h5"):
        assert contents(tmp_path / name) == contents(tmp_path / name.replace("out", "whole"))
        assert genoconv("verify", tmp_path / name).code == 0
    assert [path.name for path in tmp_path.iterdir() if "parts" in path.name] == []


def test_killed_at_any_moment_there_is_no_output_or_a_complete_one(
    genoconv: Command, fasta: Path, tmp_path: Path, spawn: Spawn
) -> None:
    whole, out = tmp_path / "whole.h5", tmp_path / "out.h5"
    command = [sys.executable, "-m", "genoconv", "embed", str(fasta), "-o", str(out), *OPTIONS, "--quiet", "--tokens"]
    begin = time.monotonic()
    subprocess.run([*command[:6], str(whole), *command[7:]], cwd=ROOT, check=True)
    seconds = time.monotonic() - begin
    moments = random.Random(2)
    for _ in range(20):
        process = spawn(command)
        time.sleep(moments.uniform(0.2, 1.1) * seconds)
        process.kill()
        process.wait()
        for made in (tmp_path / "out.tokens.h5", out):
            if made.exists():
                assert contents(made) == contents(made.with_name(made.name.replace("out", "whole")))
        if out.exists():
            out.unlink()
            (tmp_path / "out.tokens.h5").unlink()
    assert genoconv("embed", fasta, "-o", out, *OPTIONS, "--tokens").code == 0
    for made in (tmp_path / "out.tokens.h5", out):
        assert contents(made) == contents(made.with_name(made.name.replace("out", "whole")))


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_commits_and_ends_the_run(
    fasta: Path, tmp_path: Path, number: signal.Signals, code: int, start: Spawn
) -> None:
    out = tmp_path / "out.h5"
    report = tmp_path / "run.json"
    process = start(fasta, out, "--report", str(report), slow=0.3)
    wait_for_units(process, 3)
    process.send_signal(number)
    _, words = process.communicate(timeout=30)
    assert process.returncode == code, words
    assert number.name in words
    assert len(list((tmp_path / "out.h5.parts").glob("part-*.npz"))) == 1
    told = json.loads(report.read_text())
    assert told["exit_code"] == code
    assert number.name in told["exit_reason"]
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_time_limit_ends_the_run_in_time(genoconv: Command, fasta: Path, tmp_path: Path, start: Spawn) -> None:
    out = tmp_path / "out.h5"
    process = start(fasta, out, "--time-limit", "20s", slow=1.0)
    begin = time.monotonic()
    _, words = process.communicate(timeout=60)
    assert time.monotonic() - begin < 20
    assert process.returncode == 75, words
    assert "the time limit is near" in words
    assert genoconv("embed", fasta, "-o", out, *OPTIONS).code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 75), (signal.SIGINT, 130)])  # by Slurm, by a terminal
def test_a_signal_to_all_processes_of_a_run_commits_and_ends_it(
    fasta: Path, tmp_path: Path, number: signal.Signals, code: int, start_on_two: Spawn
) -> None:
    process = start_on_two(fasta, tmp_path / "out.h5")
    os.killpg(process.pid, number)
    _, words = process.communicate(timeout=60)
    assert process.returncode == code, words
    assert number.name in words
    assert "Traceback" not in words
    assert parts_of(tmp_path / "out.h5")


def test_two_processes_and_a_kill_give_the_same_file(
    genoconv: Command, fasta: Path, tmp_path: Path, start_on_two: Spawn
) -> None:
    whole, out = tmp_path / "whole.h5", tmp_path / "out.h5"
    assert genoconv("embed", fasta, "-o", whole, *OPTIONS, "--tokens").code == 0
    process = start_on_two(fasta, out, "--tokens")
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 75, words
    assert parts_of(out)
    options = [*OPTIONS, "--devices", "cpu,cpu", "--tokens"]
    command = [sys.executable, "-m", "genoconv", "embed", str(fasta), "-o", str(out), *options]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "going on" in finished.stderr
    for made in (out, tmp_path / "out.tokens.h5"):
        assert contents(made) == contents(made.with_name(made.name.replace("out", "whole")))
    assert not out.with_name("out.h5.parts").exists()


def test_what_changed_is_named_and_restart_starts_over(
    genoconv: Command, fasta: Path, tmp_path: Path, start: Spawn
) -> None:
    out = tmp_path / "out.h5"
    process = start(fasta, out, slow=0.2)
    wait_for_units(process, 3)
    process.terminate()
    process.communicate()
    changed = genoconv("embed", fasta, "-o", out, *OPTIONS, "--pool", "max")
    assert changed.code == 4
    assert 'the setting poolings was ["mean"], now it is ["max"]' in changed.err
    assert "--restart" in changed.err
    other = genoconv("embed", fasta, "-o", out, "--model", ROOT / "tests" / "golden" / "tiny-1k")
    assert "the model" in other.err
    sequence = fasta.read_text()
    fasta.write_text(sequence.replace("A", "C", 1))
    assert "the input" in genoconv("embed", fasta, "-o", out, *OPTIONS).err
    assert genoconv("embed", fasta, "-o", out, *OPTIONS, "--restart").code == 0


def test_a_complete_output_is_not_made_again(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    assert genoconv("embed", fasta, "-o", out, *OPTIONS).code == 0
    before = out.stat().st_mtime_ns
    again = genoconv("embed", fasta, "-o", out, *OPTIONS)
    assert again.code == 0, again.err
    assert "complete already" in again.err
    assert out.stat().st_mtime_ns == before
    other = genoconv("embed", fasta, "-o", out, *OPTIONS, "--layer", "1")
    assert other.code == 4
    assert "--force" in other.err


def test_two_jobs_on_one_output(genoconv: Command, fasta: Path, tmp_path: Path, start: Spawn) -> None:
    out = tmp_path / "out.h5"
    process = start(fasta, out, slow=5)
    wait_for_units(process, 1)
    second = genoconv("embed", fasta, "-o", out, *OPTIONS)
    process.kill()
    process.communicate()
    assert second.code == 4
    assert f"process {process.pid}" in second.err
    assert genoconv("embed", fasta, "-o", out, *OPTIONS).code == 0


def test_a_damaged_part_is_computed_again(genoconv: Command, fasta: Path, tmp_path: Path, start: Spawn) -> None:
    out, whole = tmp_path / "out.h5", tmp_path / "whole.h5"
    process = start(fasta, out, "--commit-every", "0", slow=0.1)
    wait_for_units(process, 5)
    process.terminate()
    process.communicate()
    parts = sorted((tmp_path / "out.h5.parts").glob("part-*.npz"))
    assert len(parts) >= 3
    damaged = bytearray(parts[1].read_bytes())
    damaged[len(damaged) // 3] ^= 1
    parts[1].write_bytes(damaged)
    assert genoconv("embed", fasta, "-o", out, *OPTIONS).code == 0
    assert genoconv("embed", fasta, "-o", whole, *OPTIONS).code == 0
    assert contents(out) == contents(whole)


def test_a_failing_record_ends_the_run_only_when_asked(genoconv: Command, tmp_path: Path) -> None:
    (tmp_path / "mixed.fa").write_text(">good\nACGT\n>empty\n>also_good\nGGGTT\n")
    report = tmp_path / "run.json"
    arguments = ("embed", tmp_path / "mixed.fa", "-o", tmp_path / "out.h5", *OPTIONS)
    strict = genoconv(*arguments, "--fail-fast", "--report", report)
    assert strict.code == 4
    assert "empty" in strict.err
    assert json.loads(report.read_text())["exit_code"] == 4
    assert not (tmp_path / "out.h5").exists()
    nowhere = genoconv(*arguments, "--report", tmp_path / "missing" / "run.json")
    assert nowhere.code == 4
    assert "--report" in nowhere.err
    assert genoconv(*arguments, "--report", report).code == 3
    table = (tmp_path / "out.failures.tsv").read_text().splitlines()
    assert table[0] == "id\twhere\treason"
    assert table[1].startswith("empty\t")
    told = json.loads(report.read_text())
    assert (told["schema"], told["exit_code"], told["exit_reason"]) == (
        "genoconv-report",
        3,
        "1 records failed, the others are complete",
    )
    assert told["records"] == {"wanted": 3, "written": 2, "done_by_earlier_starts": 0, "failed": 1, "skipped": 0}
    assert genoconv(*arguments).code == 3


def test_numbers_that_no_file_can_hold_fail_their_record_alone(
    genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genoconv.outputs import pooling

    def pool(hidden: Any, lengths: list[int], kind: str) -> Any:
        pooled = pooling.pool(hidden, lengths, kind)
        pooled[np.array(lengths) == 1] = 1e6
        return pooled

    monkeypatch.setattr("genoconv.runs.compute.pool_states", pool)
    (tmp_path / "three.fa").write_text(">a\nACGT\n>b\nA\n>c\nGGTT\n")
    finished = genoconv("embed", tmp_path / "three.fa", "-o", tmp_path / "out.h5", *OPTIONS, "--dtype", "f2")
    assert finished.code == 3
    assert "65504" in finished.err
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(file["obs/_index"].asstr()[:]) == ["a", "c"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals of POSIX")
def test_a_worker_that_dies_ends_the_run_and_keeps_the_rest(
    genoconv: Command, fasta: Path, tmp_path: Path, start_on_two: Spawn
) -> None:
    out = tmp_path / "out.h5"
    process = start_on_two(fasta, out)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(workers[0], signal.SIGKILL)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 4, words
    assert "SIGKILL" in words
    assert parts_of(out)
    finished = genoconv("embed", fasta, "-o", out, *OPTIONS)
    assert finished.code == 0
    assert "going on" in finished.err


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of 4 MB, or as many as a test says."""
    folder, size = tmp_path / "disk", getattr(request, "param", 4)
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}m", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system is mounted by root only")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(("small_disk", "options"), [(4, []), (20, ["--tokens"])], indirect=["small_disk"])
def test_a_disk_that_fills_up_and_becomes_read_only_keeps_what_is_done(
    genoconv: Command, fasta: Path, small_disk: Path, options: list[str], start: Spawn
) -> None:
    out = small_disk / "out.h5"
    process = start(fasta, out, "--commit-every", "0", *options, slow=0.2)
    wait_for_units(process, 3)
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    _, words = process.communicate(timeout=60)
    assert process.returncode == 4, words
    assert "the disk is full" in words
    assert str(small_disk) in words
    parts = list((small_disk / "out.h5.parts").glob("part-*"))
    assert parts
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused = genoconv("embed", fasta, "-o", out, *OPTIONS, *options)
    assert refused.code == 4
    assert "read-only" in refused.err
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert sorted((small_disk / "out.h5.parts").glob("part-*")) == sorted(parts)
    finished = genoconv("embed", fasta, "-o", out, *OPTIONS, *options)
    assert finished.code == 0, finished.err
    assert "going on" in finished.err
    assert genoconv("verify", out).code == 0


def test_an_output_that_will_not_fit_is_refused_before_computing(
    genoconv: Command, fasta: Path, small_disk: Path
) -> None:
    refused = genoconv("embed", fasta, "-o", small_disk / "out.h5", *OPTIONS, "--tokens")
    assert refused.code == 4
    assert "GB are free" in refused.err
    assert list(small_disk.iterdir()) == []


def test_a_file_system_without_links_and_locks(
    genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr("fcntl.flock", refuse)
    assert genoconv("embed", fasta, "-o", tmp_path / "out.h5", *OPTIONS).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["genes.fa", "out.h5"]
