"""The whole evaluation on real DNA: coding or intergenic, cut from the 20,000 bases of E. coli in the tests' data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from genoconv.errors import InputError
from genoconv.evaluation.labelled import Columns
from genoconv.evaluation.run import evaluate, load_subjects
from genoconv.evaluation.table import Row
from genoconv.evaluation.tasks import Task
from genoconv.training.corpus import pack
from genoconv.training.markov import MarkovModel
from genoconv.training.perplexity import perplexity

CPU = torch.device("cpu")
MODEL = Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Sequences whose label shows in the middle base and nowhere else."""
    rng = np.random.default_rng(0)
    lines = ["label\tplace\tsequence"]
    for row in range(120):
        bases = rng.choice(list("ACGT"), 41)
        bases[20] = "AC"[row % 2]
        lines.append(f"{'ac'[row % 2]}\t{row}\t{''.join(bases)}")
    path = tmp_path / "sites.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def by_features(rows: list[Row]) -> dict[str, Row]:
    return {row.features: row for row in rows}


def test_a_site_shows_at_the_site_and_random_weights_stand_beside(table: Path) -> None:
    task = Task(name="sites", file=table, views=("mean", "site"), kmers=(2,), one_hot=1)
    told: list[str] = []
    rows = by_features(list(evaluate([task], load_subjects([str(MODEL)], CPU), CPU, tell=told.append)))
    assert list(rows) == [
        *("always the commonest label", "2-mers", "one-hot of 1 bases"),
        *(f"{MODEL}{part}" for part in ("", ": mean", ": site", " + 2-mers")),
        *(f"{MODEL}, random weights{part}" for part in ("", ": mean", ": site", " + 2-mers")),
    ]
    assert rows["one-hot of 1 bases"].value == 1
    assert rows[f"{MODEL}: site"].value > 0.9 > rows[f"{MODEL}: mean"].value
    assert rows[str(MODEL)].chosen.startswith("site, layer")
    assert rows[str(MODEL)].value > 0.9
    assert rows["2-mers"].value < 0.8
    assert {(row.records, row.classes, row.bases) for row in rows.values()} == {(120, 2, 120 * 41)}
    assert told[0] == "sites: sites.tsv"


def test_a_test_file_is_judged_by_what_the_other_taught(table: Path, tmp_path: Path) -> None:
    header, *lines = table.read_text().splitlines()
    for name, part in (("train.tsv", lines[:80]), ("test.tsv", lines[80:])):
        (tmp_path / name).write_text("\n".join([header, *part]) + "\n")
    task = Task(name="sites", file=tmp_path / "train.tsv", test=tmp_path / "test.tsv", one_hot=1, method="nearest")
    told: list[str] = []
    rows = by_features(list(evaluate([task], [], CPU, tell=told.append)))
    assert rows["one-hot of 1 bases"].value == 1
    assert rows["3-mers of both strands"].records == 40
    assert not any("letter for letter" in line for line in told)
    (tmp_path / "test.tsv").write_text("\n".join([header, *lines[78:]]) + "\n")
    list(evaluate([task], [], CPU, tell=told.append))
    assert "sites: 2 of 42 test sequences are, letter for letter, in train.tsv" in told
    (tmp_path / "test.tsv").write_text(f"{header}\nnew\t1\tACGT\n")
    with pytest.raises(InputError, match="'new' is in the test file only"):
        list(evaluate([task], [], CPU))


def test_too_little_to_learn_from_is_refused(table: Path) -> None:
    for columns in (Columns(keep=("a",)), Columns(group="place", block=60)):
        with pytest.raises(InputError, match="too little to learn from"):
            list(evaluate([Task(name="few", file=table, columns=columns)], [], CPU))


def test_perplexities_by_label(data: Path) -> None:
    subjects = load_subjects([str(MODEL)], CPU)
    task = Task(name="by organism", file=data / "organisms16.fa.gz", method="perplexity", columns=Columns(keep=KINDS))
    rows = list(evaluate([task], subjects, CPU))
    assert [row.chosen for row in rows] == [kind for kind in KINDS for _ in range(3)]
    assert {row.metric for row in rows} == {"perplexity"}
    assert all(row.value > 2 and row.bases == 16 * 1024 for row in rows)
    assert rows[0].features.startswith("best Markov model (order ")
    assert rows[1].features == str(MODEL)


KINDS = ("Dictyostelium_discoideum", "Homo_sapiens")


def test_a_perplexity_is_that_of_the_records_side_by_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("ACGT"), 50)) for _ in range(3)]
    (tmp_path / "a.fa").write_text("".join(f">x\n{text}\n" for text in texts))
    task = Task(name="p", file=tmp_path / "a.fa", method="perplexity")
    subject = load_subjects([str(MODEL)], CPU)[0]
    markov, model = evaluate([task], [subject], CPU)
    packed = [pack(text.encode())[0] for text in texts]
    assert model.value == pytest.approx(perplexity(subject.model, np.concatenate(packed), context=52))
    halves = [np.concatenate(packed[::2]), packed[1]]
    found = [
        np.log(MarkovModel.fit(one, 8, both_strands=True).perplexities(two)) for one, two in (halves, halves[::-1])
    ]
    weights = [len(halves[1]), len(halves[0])]
    assert markov.value == pytest.approx(np.exp(np.average(found, axis=0, weights=weights)).min())
