"""`genoconv plot`: from a FASTA file to a picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

Command = Callable[..., Any]


@pytest.fixture
def embedded(genoconv: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.fa").write_text(">fly|1\nACGTAC\n>fly|2\nGGGTTA\n>yeast|1\nTTTTAA\n")
    assert genoconv("embed", "a.fa", "--pool", "mean", "--pool", "max", "-q").code == 0
    return Path("a.h5")


def test_a_picture_is_drawn_the_same_each_time(genoconv: Command, embedded: Path) -> None:
    done = genoconv("plot", embedded, "--colour", "1")
    assert done.code == 0, done.err
    assert "wrote a.png" in done.err
    first = Path("a.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert genoconv("plot", embedded, "--colour", "1", "--force").code == 0
    assert Path("a.png").read_bytes() == first
    assert genoconv("plot", embedded, "--color", "2", "--matrix", "obsm/max", "-o", "b.svg", "-q").code == 0
    assert "<svg" in Path("b.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--colour", "organism"], 2, "cannot be coloured by 'organism'"),
        (["--matrix", "obsm/last"], 2, "it has: X, obsm/max"),
        (["--labels", "a.fa"], 2, "one column only"),
        (["-o", "a.gif"], 4, ".png"),
        (["-o", "there.png"], 4, "--force"),
        (["-o", "no/folder/a.png"], 4, "cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_drawn_is_told(
    genoconv: Command, embedded: Path, arguments: list[str], code: int, words: str
) -> None:
    Path("there.png").write_text("precious")
    done = genoconv("plot", embedded, *arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert Path("there.png").read_text() == "precious"
