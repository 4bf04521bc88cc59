"""The README's examples, run as they stand."""

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(title: str, language: str) -> list[str]:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", section(title), flags=re.DOTALL)
    return found


@pytest.fixture
def work(tmp_path: Path, data: Path) -> Path:
    """A folder with the files that the examples speak of."""
    (tmp_path / "genes.fa").write_text(">one\nACGTACGTTGCA\n>two\nGGGTTTACAC\n")
    (tmp_path / "b.fa").write_text(">three\nTTGACA\n")
    shutil.copy(tmp_path / "genes.fa", tmp_path / "sites.fa")
    for name in ("a.fa.gz", "reads.fa.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b">four\nTATAAT\n>five\nCATG\n"))
    shutil.copy(data / "ecoli_20kb.fa", tmp_path / "genome.fa")
    shutil.copy(data / "ecoli_20kb.gtf", tmp_path / "genes.gtf")
    return tmp_path


@pytest.mark.parametrize("line", blocks("Embed", "sh")[0].splitlines(), ids=lambda line: line.split("#")[0].strip())
def test_examples_of_embedding_run(line: str, work: Path) -> None:
    program = f'set -eo pipefail; genoconv() {{ "{sys.executable}" -m genoconv "$@"; }}; {line}'
    done = subprocess.run(
        ["bash", "-c", program], cwd=work, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = sorted(path.name for path in work.iterdir() if path.suffix == ".h5")
    if "--dry-run" in line:
        assert not written
    else:
        assert written
        assert all(h5py.is_hdf5(work / name) for name in written)


def test_the_two_lines_that_read_a_result_do(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "genoconv", "embed", "genes.fa"]
    subprocess.run(command, cwd=work, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    monkeypatch.chdir(work)
    found: dict[str, object] = {"h5py": h5py}
    exec(blocks("Read the result", "python")[0], found)
    assert list(found["ids"]) == ["one", "two"]  # type: ignore[call-overload]
    assert found["X"].shape == (2, 128)  # type: ignore[attr-defined]


def test_every_file_that_is_linked_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_both_commands_of_setting_up_name_what_is_there() -> None:
    first, second = (block.strip() for block in blocks("Install and try", "sh"))
    assert (ROOT / first.split()[-1]).is_file()
    assert second.endswith("-m pytest")
