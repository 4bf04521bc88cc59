"""Columns of a file are read as they were written, joined, and refused where they do not belong together."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from genoconv.outputs import hdf5
from genoconv.outputs.columns import join, read_column
from genoconv.outputs.hdf5 import Categorical, Coded, Column

COLUMNS: dict[str, Column] = {
    "length": np.array([3, 1, 2]),
    "kind": Categorical(["b", "a", "b"], ("a", "b", "c")),
    "name": ["eins", "zwei", "drei é 3"],
}


def written(path: Path, order: list[int], columns: dict[str, Column]) -> dict[str, object]:
    """Every dataset of the table of some rows of some columns."""
    found: dict[str, object] = {}
    with h5py.File(path, "w") as file:
        taken = {name: hdf5.take(column, np.array(order)) for name, column in columns.items()}
        hdf5.write_table(file, "obs", [str(row) for row in order], taken)
        file["obs"].visititems(
            lambda name, node: found.update({name: node[()].tolist()}) if isinstance(node, h5py.Dataset) else None
        )
    return found


def test_columns_of_two_files_become_those_of_one(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.h5", [0, 1, 2], COLUMNS)
    for name, order in (("first", [2, 0]), ("second", [1])):
        written(tmp_path / name, order, COLUMNS)
    with h5py.File(tmp_path / "first") as first, h5py.File(tmp_path / "second") as second:
        joined = {name: join([read_column(first["obs"][name]), read_column(second["obs"][name])]) for name in COLUMNS}
    again = {name: hdf5.take(column, np.array([1, 2, 0])) for name, column in joined.items()}
    assert written(tmp_path / "again", [0, 1, 2], again) == whole


def test_columns_that_differ_in_kind_or_categories_are_not_joined() -> None:
    codes = np.array([0, 1], dtype="i1")
    with pytest.raises(ValueError, match="categories"):
        join([Coded(codes, ["a", "b"]), Coded(codes, ["b", "a"])])
    with pytest.raises(ValueError, match="kinds"):
        join([Coded(codes, ["a", "b"]), codes])


def test_a_damaged_column_is_seen(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        hdf5.write_table(file, "obs", ["a", "b", "c"], COLUMNS)
        for name, value in (("length", 7), ("name", b"vier"), ("kind/codes", 2)):
            file["obs"][name][1] = value
        for name in COLUMNS:
            with pytest.raises(ValueError, match="checksum"):
                read_column(file["obs"][name])
