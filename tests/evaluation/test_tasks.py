"""Suites of tasks, and what is said of those that ask for what there is not."""

from pathlib import Path

import pytest

from genoconv.errors import GenoconvError
from genoconv.evaluation.tasks import read_suite

ROOT = Path(__file__).resolve().parents[2]


def test_a_suite_becomes_tasks(tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(
        '[[task]]\nname = "one"\nfile = "a.tsv"\nkeep = ["x", "y"]\nviews = ["site"]\n'
        '[[task]]\nname = "two"\nfile = "b.fa"\ntest = "c.fa"\nmethod = "nearest"\nkmers = [6]\n'
    )
    one, two = read_suite(suite, "there")
    assert (one.file, one.test, one.columns.keep, one.views, one.method) == (
        Path("there/a.tsv"), None, ("x", "y"), ("site",), "probe",
    )  # fmt: skip
    assert (two.test, two.kmers, two.method) == (Path("there/c.fa"), (6,), "nearest")
    assert read_suite(suite)[0].file == tmp_path / "a.tsv"


def test_the_suite_of_the_built_in_models_holds() -> None:
    tasks = read_suite(ROOT / "tests" / "benchmarks" / "evaluation.toml")
    assert len({task.name for task in tasks}) == len(tasks) >= 10
    assert {task.method for task in tasks} == {"probe", "nearest", "perplexity"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no [[task]]"),
        ("[[task", "cannot be read"),
        ('[[task]]\nname = "a"', "key file is missing"),
        ('[[task]]\nname = "a"\nfile = "b"\ncolour = 1', "key colour is not known"),
        ('[[task]]\nname = "a"\nfile = "b"\ncolumns = 1', "key columns is not known"),
        ('[[task]]\nname = "a"\nfile = "b"\nviews = ["median"]', "'median' is none of mean"),
        ('[[task]]\nname = "a"\nfile = "b"\nmethod = "guess"', "'guess' is none of probe"),
        ('[[task]]\nname = "a"\nfile = "b"\nfolds = 1', "at least 2 folds"),
        ('[[task]]\nname = "a"\nfile = "b"\nfolds = "five"', "wrong type"),
        ('[[task]]\nname = "a"\nfile = "b"\nkmers = []', "at least one view"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str, words: str) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(content)
    with pytest.raises(GenoconvError) as caught:
        read_suite(suite)
    assert words in str(caught.value)
