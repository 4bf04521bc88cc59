"""Exit codes: what a fault, a lack of memory, and a signal before the run mean, and that both tables of codes agree."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Finished(Protocol):
    """What the fixture `genoconv` returns."""

    code: int
    out: str
    err: str


Command = Callable[..., Finished]


def raising(error: BaseException) -> Callable[..., object]:
    def fail(*arguments: object, **options: object) -> object:
        raise error

    return fail


def test_a_fault_of_the_program_is_told_as_one(genoconv: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genoconv.outputs.verification.verify", raising(RuntimeError("boom")))
    told = genoconv("verify", "x.h5")
    assert told.code == 1
    assert told.err.startswith("genoconv: error: unexpected RuntimeError: boom\n")
    assert "--debug" in told.err
    assert "Traceback" not in told.err
    shown = genoconv("verify", "x.h5", "--debug")
    assert shown.code == 1
    assert "Traceback" in shown.err


def test_a_fault_in_a_run_is_in_its_report(
    genoconv: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    monkeypatch.setattr("genoconv.embed.prepare", raising(ZeroDivisionError("boom")))
    told = genoconv("embed", data / "genes.fa", "-o", tmp_path / "x.h5", "--report", tmp_path / "run.json")
    assert told.code == 1
    report = (tmp_path / "run.json").read_text()
    assert '"exit_code": 1' in report
    assert "ZeroDivisionError: boom" in report


def test_no_memory_is_no_fault_of_the_program(genoconv: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genoconv.outputs.verification.verify", raising(MemoryError()))
    told = genoconv("verify", "x.h5")
    assert told.code == 4
    assert "memory" in told.err


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGUSR2, 75), (signal.SIGINT, 130)],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else None,
)
def test_a_signal_before_the_run_ends_it_as_one_in_the_run(number: signal.Signals, code: int, tmp_path: Path) -> None:
    program = f"""
import os, sys
from importlib.abc import MetaPathFinder
from genoconv.cli.app import main

class Signalling(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "genoconv.embed":
            os.kill(os.getpid(), {int(number)})

sys.meta_path.insert(0, Signalling())
main()
"""
    command = [sys.executable, "-c", program, "embed", str(ROOT / "tests" / "data" / "genes.fa")]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == code, finished.stderr
    assert f"interrupted by {number.name}" in finished.stderr
    assert not (ROOT / "genes.h5").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_after_the_run_leaves_its_exit_code(number: signal.Signals) -> None:
    program = f"""
import atexit, os, time
from genoconv.cli.app import main

def ask():
    os.kill(os.getpid(), {int(number)})
    time.sleep(0.2)

atexit.register(ask)
main()
"""
    finished = subprocess.run(
        [sys.executable, "-c", program, "verify", "no-such.h5"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 2, finished.stderr
    assert "no-such.h5" in finished.stdout
    assert "Traceback" not in finished.stderr


def test_the_tables_of_exit_codes_agree(genoconv: Command) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = readme.split("| exit code | meaning |\n")[1].split("\n\n")[0]
    codes = [int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", rows, re.MULTILINE) for code in cell.split(",")]
    assert codes == [0, 1, 2, 3, 4, 75, 130]
    told = " ".join(genoconv("--help").out.split("Exit codes: ")[1].split())
    assert [int(part.split()[0]) for part in told.split("; ")] == codes
