"""`genoconv evaluate` as a person types it."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
MODEL = Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"


@pytest.fixture
def families(data: Path, tmp_path: Path) -> Path:
    """Real pieces of two genomes whose words differ much."""
    records = gzip.decompress((data / "organisms16.fa.gz").read_bytes()).decode().split(">")[1:]
    path = tmp_path / "families.fa"
    path.write_text("".join(f">{text}" for text in records if text.startswith(("Dictyostelium", "Mycobacterium"))))
    return path


def test_a_fasta_file_is_enough(genoconv: Command, families: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    options = ("--model", MODEL, "--view", "mean", "--kmer", "2", "--folds", "2")
    done = genoconv("evaluate", families, *options, "--csv", table)
    assert done.code == 0, done.err
    assert "families: probe, 2 labels, 32 records" in done.out
    assert "random weights" in done.out
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert float(next(row["value"] for row in rows if row["features"] == "2-mers")) > 0.9
    again = genoconv("evaluate", families, *options, "--json", "--quiet")
    assert [{key: str(value) for key, value in row.items()} for row in json.loads(again.out)] == rows
    assert again.err == ""


def test_a_suite_and_one_of_its_tasks(genoconv: Command, families: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    task = '[[task]]\nname = "{}"\nfile = "families.fa"\nmethod = "nearest"\nviews = ["mean"]\nkmers = [2]\n'
    suite.write_text(task.format("one") + task.format("two"))
    done = genoconv("evaluate", "--suite", suite, "--only", "two", "--model", MODEL, "--json")
    assert done.code == 0, done.err
    assert {row["task"] for row in json.loads(done.out)} == {"two"}
    refused = genoconv("evaluate", "--suite", suite, "--only", "three")
    assert refused.code == 2
    assert "it has: one, two" in refused.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "either a table or --suite"),
        (["missing.tsv"], 2, "missing.tsv"),
        (["a.tsv", "--label", "kind"], 2, "no column 'kind'"),
        (["a.tsv", "--view", "median"], 2, "'median' is none of"),
        (["a.tsv", "--csv", "no/such/rows.csv"], 4, "no such folder"),
        (["a.tsv", "--model", "no-such-model"], 2, "no-such-model"),
        (["a.tsv"], 2, "too little to learn from"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_told(
    genoconv: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.tsv").write_text("label\tsequence\nx\tACGT\ny\tACGA\n")
    done = genoconv("evaluate", *arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert "Traceback" not in done.err
