"""What all tests share: the shipped DNA, and the command line run inside the test process."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Examples may take as long as a busy machine makes them.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

TESTS = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Finished:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


Command = Callable[..., Finished]
Spawn = Callable[..., "subprocess.Popen[str]"]


@contextmanager
def signals_restored() -> Iterator[None]:
    """Undo that the command line, at whose end a process ends, ignores signals from then on."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture
def data() -> Path:
    """The folder of small pieces of real DNA."""
    return TESTS / "data"


@pytest.fixture
def genoconv(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run `genoconv ARGUMENTS...` in this process: quick, since torch is imported once for all tests."""
    from genoconv.cli.app import main

    def run(*arguments: str | Path) -> Finished:
        monkeypatch.setattr("sys.argv", ["genoconv", *map(str, arguments)])
        capfd.readouterr()
        with signals_restored(), pytest.raises(SystemExit) as end:
            main()
        captured = capfd.readouterr()
        code = end.value.code
        return Finished(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start a command as `subprocess.Popen` does, with text pipes; it ends with the test, however that ends."""
    started: list[subprocess.Popen[str]] = []

    def start(command: list[str], **options: Any) -> "subprocess.Popen[str]":
        started.append(subprocess.Popen(command, cwd=TESTS.parent, text=True, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
