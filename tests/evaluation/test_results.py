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
    accuracies = {path.stem.removeprefix("evaluation_"): measured(path)[0] for path in RESULTS}

    def shown(model: str, features: str) -> set[str]:
        tasks = accuracies[model].values()
        return {f"{value:.3f}" for task in tasks for name, value in task.items() if re.fullmatch(features, name)}

    models = ("genoconv-mini", "genoconv-base")
    head, _, *tasks = rows
    assert len(tasks) >= 7
    for _, words, letters, chance, *own in tasks:
        assert words in shown("genoconv-mini", "4-mers.*") & shown("genoconv-base", "4-mers.*")
        assert not letters or letters in shown("genoconv-mini", "one-hot of .*")
        for model, random, number in zip(models, chance.split(", "), own, strict=True):
            assert random in shown(model, f"{model}, random weights")
            assert number in shown(model, model)
    assert tuple(head[-2:]) == models
