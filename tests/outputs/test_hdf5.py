"""Rows that stay, and the rule that h5py has one door."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genoconv.outputs import hdf5


@settings(deadline=None, max_examples=40)
@given(kept=st.lists(st.booleans(), min_size=1, max_size=60), step=st.integers(1, 9))
def test_keep_rows(kept: list[bool], step: int) -> None:
    values = np.arange(2.0 * len(kept), dtype="f4").reshape(-1, 2)
    with h5py.File.in_memory() as file:
        matrix = hdf5.write_matrix(file, "X", shape=values.shape, dtype="f4", chunk_rows=7, attributes={})
        matrix[:] = values
        hdf5.keep_rows(matrix, np.array(kept), step=step)
        assert np.array_equal(matrix[:], values[np.array(kept)])


@pytest.mark.parametrize("categories", [3, 127, 128, 300])
def test_codes_are_as_small_as_they_can_be(categories: int) -> None:
    names = [f"c{number:03}" for number in range(categories)]
    with h5py.File.in_memory() as file:
        hdf5.write_table(file, "obs", names, {"kind": hdf5.Categorical(names)})
        codes, meanings = file["obs/kind/codes"], hdf5.read_texts(file["obs/kind/categories"])
        assert codes.dtype == ("i1" if categories < 128 else "i4")
        assert [meanings[code] for code in codes[:]] == names


def test_h5py_has_one_door() -> None:
    package = Path(hdf5.__file__).parents[1]
    importers = [
        path.name
        for path in package.rglob("*.py")
        if "import h5py" in path.read_text() or "from h5py" in path.read_text()
    ]
    assert importers == ["hdf5.py"]
