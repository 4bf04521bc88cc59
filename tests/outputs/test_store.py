"""The embeddings file: what is written is what AnnData, scanpy and two lines of h5py read."""

import errno
import random
import string
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from genoconv.errors import OutputError
from genoconv.outputs.formats import matrix_name, predicted_bytes
from genoconv.outputs.hdf5 import Array, Categorical, Column
from genoconv.outputs.store import BLOCK_ROWS, EmbeddingWriter
from genoconv.outputs.verification import verify

IDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=60)


def embeddings(records: int, width: int = 8, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((records, width), dtype=np.float32)


def columns(records: int) -> dict[str, Column]:
    return {
        "length": np.arange(records) + 100,
        "n_fraction": np.linspace(0, 1, records),
        "truncated": np.arange(records) % 3 == 0,
        "sha256": [f"{row:064x}" for row in range(records)],
        "source": Categorical(["odd\udcff name.fa"] * records, categories=["odd\udcff name.fa", "other.fa"]),
        "strand": Categorical(["+-"[row % 2] for row in range(records)], categories=["+", "-"]),
    }


def write_one(path: Path, values: Array, ids: Sequence[str] | None = None, **options: Any) -> None:
    ids = [f"g{row}" for row in range(len(values))] if ids is None else ids
    with EmbeddingWriter(
        path, ids=ids, d_model=values.shape[1], poolings=["mean"], layers=[9], obs=columns(len(values)), **options
    ) as writer:
        writer.write(0, "mean", 9, values)
        writer.commit({"seconds": 1})


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_anndata_and_scanpy_read_it(tmp_path: Path, dtype: str) -> None:
    path, records = tmp_path / "genes.h5", 70
    matrices = {("mean", 9): 0, ("mean", 4): 1, ("max", 9): 2, ("max", 4): 3}
    with EmbeddingWriter(
        path,
        ids=[f"g{row}" for row in range(records)],
        d_model=8,
        poolings=["mean", "max"],
        layers=[9, 4],
        dtype=dtype,
        obs=columns(records),
    ) as writer:
        for (pooling, layer), seed in matrices.items():
            writer.write(0, pooling, layer, embeddings(records, seed=seed))
        writer.commit({"model": "tiny", "ünï": [1, None]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages' imports
        import anndata
        import scanpy

        read = anndata.read_h5ad(path)
        scanpy.pp.pca(read, n_comps=5)
    expected = [embeddings(records, seed=seed).astype(dtype) for seed in range(4)]
    for found, wanted in zip(
        (read.X, read.layers["layer_4"], read.obsm["max"], read.obsm["max_layer_4"]), expected, strict=True
    ):
        assert found.dtype == np.dtype(dtype)
        assert np.array_equal(found, wanted)
    assert list(read.obs_names) == [f"g{row}" for row in range(records)]
    assert list(read.var_names) == [f"d{column}" for column in range(8)]
    assert list(read.obs.columns) == list(columns(records))
    assert [str(kind) for kind in read.obs.dtypes[:3]] == ["int64", "float64", "bool"]
    assert read.obs["strand"].dtype == "category"
    assert list(read.obs["strand"][:3]) == ["+", "-", "+"]
    assert read.obs["source"].iloc[0] == "odd\\udcff name.fa"
    assert '"model": "tiny"' in read.uns["provenance"]
    assert read.obsm["X_pca"].shape == (records, 5)
    assert verify(path) == []


def test_two_lines_of_h5py_suffice(tmp_path: Path) -> None:
    values = embeddings(5)
    write_one(tmp_path / "genes.h5", values)
    f = h5py.File(tmp_path / "genes.h5")
    ids, X = f["obs/_index"].asstr()[:], f["X"][:]
    assert list(ids) == ["g0", "g1", "g2", "g3", "g4"]
    assert np.array_equal(X, values)
    assert f.attrs["genoconv_format"] == "genoconv-embeddings"
    assert f.attrs["complete"]
    f.close()


@pytest.mark.parametrize("records", [0, 1, 63, 64, 65, BLOCK_ROWS + 1])
def test_any_number_of_records(tmp_path: Path, records: int) -> None:
    values = embeddings(records, width=3)
    write_one(tmp_path / "genes.h5", values)
    assert verify(tmp_path / "genes.h5") == []
    with h5py.File(tmp_path / "genes.h5") as file:
        assert np.array_equal(file["X"][:], values)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), step=st.integers(1, 700))
def test_rows_arrive_in_any_order(tmp_path_factory: pytest.TempPathFactory, seed: int, step: int) -> None:
    path = tmp_path_factory.mktemp("store") / "genes.h5"
    values = embeddings(3 * BLOCK_ROWS // 2, width=2)
    order = np.random.default_rng(seed).permutation(len(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genoconv.outputs.store.WAITING_BYTES", 0)
        with EmbeddingWriter(
            path, ids=[str(row) for row in range(len(values))], d_model=2, poolings=["max"], layers=[0], obs={}
        ) as writer:
            for start in range(0, len(order), step):
                rows = order[start : start + step]
                writer.write(rows, "max", 0, values[rows] + (start == 0))
            writer.write(order[:step], "max", 0, values[order[:step]])  # again: a retried batch
            writer.commit({})
    with h5py.File(path) as file:
        assert np.array_equal(file["X"][:], values)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(ids=["a/b", "a\nb", "", " ", "é\U0001f9ec", "e\u0301", "X", "obs/_index", ".", "x" * 200_000])
@given(ids=st.lists(IDS, max_size=8))
def test_ids_survive(tmp_path: Path, ids: list[str]) -> None:
    write_one(tmp_path / "genes.h5", embeddings(len(ids)), ids, overwrite=True)
    with h5py.File(tmp_path / "genes.h5") as file:
        assert list(file["obs/_index"].asstr()[:]) == ids
    assert verify(tmp_path / "genes.h5") == []


@pytest.mark.parametrize("bad", ["nul\0here", "half \ud800 pair"])
def test_an_id_that_hdf5_cannot_hold_is_refused_before_any_work(tmp_path: Path, bad: str) -> None:
    with pytest.raises(OutputError, match="cannot hold") as refused:
        write_one(tmp_path / "genes.h5", embeddings(2), ["good", bad])
    assert "row 1" in refused.value.where
    assert list(tmp_path.iterdir()) == []


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    values = embeddings(200)
    write_one(tmp_path / "one.h5", values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: 1e9)
        write_one(tmp_path / "two.h5", values)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


@pytest.mark.parametrize(
    ("bad", "dtype", "message"), [(np.nan, "f4", "NaN"), (-np.inf, "f2", "NaN"), (7e4, "f2", "f4")]
)
def test_a_number_that_is_not_finite_names_its_record(tmp_path: Path, bad: float, dtype: str, message: str) -> None:
    values = embeddings(10)
    values[6, 2] = bad
    with pytest.raises(OutputError) as refused:
        write_one(tmp_path / "genes.h5", values, dtype=dtype)
    assert message in str(refused.value)
    assert refused.value.where == "record g6, pooling mean, layer 9"
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_was_never_written_stops_the_commit(tmp_path: Path) -> None:
    with EmbeddingWriter(
        tmp_path / "genes.h5", ids=["a", "b", "c"], d_model=2, poolings=["mean"], layers=[1, 2], obs={}
    ) as writer:
        writer.write(0, "mean", 1, embeddings(3, 2))
        writer.write(1, "mean", 2, embeddings(1, 2))
        with pytest.raises(OutputError, match="2 of 3 records") as refused:
            writer.commit({})
    assert refused.value.where == "record a, pooling mean, layer 2"
    assert list(tmp_path.iterdir()) == []


def test_records_that_failed_are_left_out(tmp_path: Path) -> None:
    values, omitted = embeddings(500), [0, 1, 77, 300, 499]
    kept = np.delete(np.arange(500), omitted)
    ids = [f"g{row}" for row in range(500)]
    path = tmp_path / "genes.h5"
    with EmbeddingWriter(path, ids=ids, d_model=8, poolings=["mean"], layers=[9], obs=columns(500)) as writer:
        writer.write(kept, "mean", 9, values[kept])
        writer.commit({}, omit=omitted)
    assert verify(path) == []
    with h5py.File(path) as file:
        assert np.array_equal(file["X"][:], values[kept])
        assert list(file["obs/_index"].asstr()[:]) == [ids[row] for row in kept]
        assert list(file["obs/length"][:]) == (kept + 100).tolist()
        assert list(file["obs/strand/codes"][:]) == (kept % 2).tolist()


def test_an_existing_file_is_kept_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "genes.h5"
    write_one(path, embeddings(4))
    before = path.read_bytes()
    with pytest.raises(OutputError, match="--force"):
        write_one(path, embeddings(5))
    with (
        pytest.raises(RuntimeError, match="on the way"),
        EmbeddingWriter(path, ids=["a"], d_model=2, poolings=["mean"], layers=[1], obs={}, overwrite=True),
    ):
        raise RuntimeError("on the way")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    write_one(path, embeddings(5), overwrite=True)
    assert path.read_bytes() != before


def test_a_disk_that_refuses_while_the_file_is_read_back_leaves_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [OSError(errno.EIO, "Input/output error")]  # a second call would say that all is well
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(refusals.pop()) if refusals else None)
    with pytest.raises(OutputError, match="Input/output error"):
        write_one(tmp_path / "out.h5", embeddings(5))
    assert refusals == []
    assert list(tmp_path.iterdir()) == []


def test_our_own_mistakes_are_loud(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 values for 4 records"):
        EmbeddingWriter(
            tmp_path / "a.h5", ids="abcd", d_model=2, poolings=["mean"], layers=[1], obs={"length": np.arange(3)}
        )
    with pytest.raises(ValueError, match="has no encoding"):
        EmbeddingWriter(
            tmp_path / "a.h5", ids="ab", d_model=2, poolings=["mean"], layers=[1], obs={"x": np.array([None, {}])}
        )
    for poolings, layers, dtype in (
        ([], [1], "f4"),
        (["mean"], [-1], "f4"),
        (["mean"], [1, 1], "f4"),
        (["mean"], [1], "f8"),
    ):
        with pytest.raises(ValueError, match=r"must|none of"):
            EmbeddingWriter(
                tmp_path / "a.h5", ids="ab", d_model=2, poolings=poolings, layers=layers, dtype=dtype, obs={}
            )
    with EmbeddingWriter(tmp_path / "a.h5", ids="ab", d_model=2, poolings=["mean"], layers=[1], obs={}) as writer:
        for rows, shape in ((0, (2, 3)), (1, (2, 2)), (np.array([0, -1]), (2, 2)), (np.array([0]), (2, 2))):
            with pytest.raises(ValueError, match="rows"):
                writer.write(rows, "mean", 1, np.zeros(shape, np.float32))
    assert list(tmp_path.iterdir()) == []


def test_names_of_matrices() -> None:
    names = [matrix_name(p, i, poolings=["mean", "max"], layers=[9, 0]) for p in ("mean", "max") for i in (9, 0)]
    assert names == ["X", "layers/layer_0", "obsm/max", "obsm/max_layer_0"]


@pytest.mark.parametrize("records", [1, 10, 3000])
@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_the_size_is_predicted(tmp_path: Path, records: int, dtype: str) -> None:
    random.seed(0)
    ids = ["".join(random.choices(string.ascii_letters, k=30)) for _ in range(records)]
    write_one(tmp_path / "genes.h5", embeddings(records, width=128), ids, dtype=dtype)
    size = (tmp_path / "genes.h5").stat().st_size
    predicted = predicted_bytes(records, 128, dtype=dtype, id_bytes=30)
    assert size <= predicted <= 1.35 * size + 65_536
