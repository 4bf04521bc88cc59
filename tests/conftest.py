"""What all tests share: the shipped DNA, and the command line run inside the test process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
        with pytest.raises(SystemExit) as end:
            main()
        captured = capfd.readouterr()
        code = end.value.code
        return Finished(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run
