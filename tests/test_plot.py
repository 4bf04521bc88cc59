"""Principal components, labels, and the picture."""

from pathlib import Path

import numpy as np
import pytest

from genoconv import plot
from genoconv.errors import EnvironmentProblem, InputError
from genoconv.outputs.reading import Embedded
from genoconv.plot import draw, labels_of, principal_components

EMBEDDED = Embedded(["a|x", "b|y"], np.eye(2, dtype=np.float32), {"strand": ["+", "-"]})


def test_components_are_those_of_the_covariance() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 6)) * [9, 1, 1, 1, 1, 1] + 5
    rows[:, 1] += rows[:, 0]
    constant = np.full((50, 1), 3.0)  # a column that says nothing
    found = principal_components(np.concatenate([rows, constant], axis=1).astype(np.float32))
    values, vectors = np.linalg.eigh(np.corrcoef(rows[:, :6].T))
    assert found.shares == pytest.approx((values[-1] / 6, values[-2] / 6), rel=1e-4)
    scaled = (rows[:, :6] - rows[:, :6].mean(axis=0)) / rows[:, :6].std(axis=0)
    for place, vector in enumerate((vectors[:, -1], vectors[:, -2])):
        expected = scaled @ vector
        expected *= np.sign(expected[np.abs(expected).argmax()])
        np.testing.assert_allclose(found.places[:, place], expected, atol=1e-4)


def test_rows_without_a_difference_lie_in_one_place() -> None:
    found = principal_components(np.ones((4, 3), dtype=np.float32))
    assert found.places.tolist() == [[0, 0]] * 4
    assert found.shares == (0, 0)


def test_labels_come_from_columns_ids_or_a_table(tmp_path: Path) -> None:
    table = tmp_path / "labels.tsv"
    table.write_text("id\torganism\tkind\nb|y\tfly\t2\na|x\tyeast\t1\n")
    assert labels_of(EMBEDDED, None, None) is None
    assert labels_of(EMBEDDED, "strand", None) == ["+", "-"]
    assert labels_of(EMBEDDED, "2", None) == ["x", "y"]
    assert labels_of(EMBEDDED, None, table) == ["yeast", "fly"]
    assert labels_of(EMBEDDED, "kind", table) == ["1", "2"]
    for colour, wrong in (("3", None), ("family", None), ("family", table), ("id", table), (None, tmp_path / "no.tsv")):
        with pytest.raises(InputError):
            labels_of(EMBEDDED, colour, wrong)
    table.write_text("id,organism\na|x,yeast\n")
    with pytest.raises(InputError, match="one column only"):
        labels_of(EMBEDDED, None, table)
    table.rename(tmp_path / "labels.csv")
    with pytest.raises(InputError, match=r"1 ids are not in the table, the first: b\|y"):
        labels_of(EMBEDDED, None, tmp_path / "labels.csv")


def test_without_matplotlib_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="needs matplotlib"):
        draw(tmp_path / "a.h5", tmp_path / "a.png", colour=None, table=None)
