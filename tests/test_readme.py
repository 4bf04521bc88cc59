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
    run(line, work)
    written = sorted(path.name for path in work.iterdir() if path.suffix == ".h5")
    if "--dry-run" in line:
        assert not written
    else:
        assert written
        assert all(h5py.is_hdf5(work / name) for name in written)


def run(line: str, folder: Path) -> str:
    program = f'set -eo pipefail; genoconv() {{ "{sys.executable}" -m genoconv "$@"; }}; {line}'
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_picture_is_drawn(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    records = gzip.decompress((data / "organisms16.fa.gz").read_bytes()).split(b">")[1:]
    (tmp_path / "tests" / "data").mkdir(parents=True)
    few = b"".join(b">" + record for record in records[::16])  # of each organism one
    (tmp_path / "tests" / "data" / "organisms16.fa.gz").write_bytes(gzip.compress(few))
    run(blocks("Read the result", "sh")[0], tmp_path)
    assert (tmp_path / "organisms16.png").read_bytes().startswith(b"\x89PNG")


def test_examples_of_evaluating_run(tmp_path: Path) -> None:
    rows = [("ab"[row % 2], f"{row:06b}".replace("0", "A").replace("1", "C")) for row in range(40)]
    table = "label\tgene\tsequence\n" + "".join(f"{label}\t{bases}\tTTGCAA{bases}\n" for label, bases in rows)
    for name in ("sites", "train", "test"):
        (tmp_path / f"{name}.tsv").write_text(table)
    (tmp_path / "families.fa").write_text("".join(f">{label}|{bases}\nTTGCAA{bases}\n" for label, bases in rows))
    for line in blocks("Evaluate", "sh")[0].splitlines():
        quick = f"genoconv evaluate --model {ROOT / 'tests' / 'golden' / 'tiny-d64'}"
        assert "tiny-d64, random weights" in run(line.replace("genoconv evaluate", quick), tmp_path)
    assert (tmp_path / "table.csv").read_text().startswith("task,method,features")


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
