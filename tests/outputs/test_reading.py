from pathlib import Path

import numpy as np
import pytest

from genoconv.errors import InputError
from genoconv.outputs.hdf5 import Categorical, Column
from genoconv.outputs.reading import read_embedded
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.tokens import TokenWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a.h5"
    obs: dict[str, Column] = {
        "length": np.array([3, 5]),
        "strand": Categorical(["+", "-"], ("+", "-")),
        "source": ["a.fa", "b.fa"],
    }
    ids = ["one", "ünd"]
    with EmbeddingWriter(made, ids=ids, d_model=2, poolings=["mean", "site"], layers=[1], dtype="f2", obs=obs) as file:
        file.write(np.arange(2), "mean", 1, np.array([[1, 2], [3, 4]], dtype="f4"))
        file.write(np.arange(2), "site", 1, np.arange(8, dtype="f4").reshape(2, 4))
        file.commit({})
    return made


def test_ids_rows_and_columns_come_back(path: Path) -> None:
    found = read_embedded(path)
    assert found.ids == ["one", "ünd"]
    assert found.rows.dtype == np.float32
    assert found.rows.tolist() == [[1, 2], [3, 4]]
    assert found.columns == {"length": ["3", "5"], "strand": ["+", "-"], "source": ["a.fa", "b.fa"]}
    assert read_embedded(path, "obsm/site").rows[1].tolist() == [4, 5, 6, 7]


def test_other_matrices_and_files_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no matrix 'obsm/max'"):
        read_embedded(path, "obsm/max")
    with TokenWriter(tmp_path / "a.tokens.h5", ids=["a"], lengths=[2], d_model=2, layer=1) as file:
        file.write(0, np.zeros((2, 2), dtype="f4"))
        file.commit({})
    with pytest.raises(InputError, match="one row per record"):
        read_embedded(tmp_path / "a.tokens.h5")
    with pytest.raises(InputError, match="cannot be read"):
        read_embedded(tmp_path / "missing.h5")
