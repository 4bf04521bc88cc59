"""The numbers of the cards and of the README are those that were measured."""

import csv
import re
from pathlib import Path

import pytest

from genoconv.model.names import BUILTIN_FOLDER

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "tests" / "benchmarks" / "results").glob("evaluation_*.csv"))


Numbers = dict[str, dict[str, float]]


def measured(path: Path) -> tuple[Numbers, Numbers]:
    """Accuracies by task and features; perplexities by organism and features."""
    accuracies: Numbers = {}
    perplexities: Numbers = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            if row["metric"] == "perplexity":
                perplexities.setdefault(row["chosen"].replace("_", " "), {})[row["features"]] = float(row["value"])
            else:
                accuracies.setdefault(row["task"], {})[row["features"]] = float(row["value"])
    return accuracies, perplexities


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_card_has_every_task_and_its_numbers(path: Path) -> None:
    name = path.stem.removeprefix("evaluation_")
    lines = (BUILTIN_FOLDER / name / "CARD.md").read_text().splitlines()
    shown: dict[str, set[str]] = {}
    for first, *rest in ([cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"):
        shown.setdefault(first, set()).update(re.findall(r"\d\.\d{3}", " ".join(rest)))
    accuracies, perplexities = measured(path)
    for task, values in accuracies.items():
        views = {features for features in values if features.startswith(f"{name}, random weights: ")}
        expected = {f"{values[features]:.3f}" for features in set(values) - views - {"always the commonest label"}}
        assert expected <= shown[task], task
    for organism, values in perplexities.items():
        assert {f"{value:.3f}" for features, value in values.items() if "random" not in features} <= shown[organism]


def test_the_table_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text().split("\n## Evaluate\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in readme.splitlines() if line.startswith("| ")
    ]
    (path,) = [path for path in RESULTS if path.stem.endswith("mini")]
    values = {f"{value:.3f}" for of_task in measured(path)[0].values() for value in of_task.values()}
    numbers = [cell for row in rows[2:] for cell in row[1:] if cell]
    assert len(numbers) >= 20
    assert set(numbers) <= values
