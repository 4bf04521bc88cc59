"""What a file says about itself, and what is said of files that are not ours."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from genoconv.errors import InputError
from genoconv.outputs.inspection import Matrix, read_info
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.tokens import TokenWriter


def write(path: Path) -> None:
    with EmbeddingWriter(
        path, ids=["a", "b"], d_model=4, poolings=["mean", "last"], layers=[9, 2], dtype="f2", obs={"length": [3, 4]}
    ) as writer:
        for pooling in ("mean", "last"):
            for layer in (9, 2):
                writer.write(0, pooling, layer, np.zeros((2, 4), np.float32))
        writer.commit({"model": {"name": "tiny"}, "note": "x" * 500})


def test_an_embeddings_file(tmp_path: Path) -> None:
    path = tmp_path / "genes.h5"
    write(path)
    info = read_info(path)
    assert (info.format, info.version, info.complete) == ("genoconv-embeddings", "1.0", True)
    assert (info.records, info.d_model, info.dtype, info.columns) == (2, 4, "f2", ("length",))
    assert (info.poolings, info.layers) == (("mean", "last"), (9, 2))
    assert info.matrices[0] == Matrix("X", (2, 4), "mean", 9)
    assert {matrix.name for matrix in info.matrices} == {"X", "layers/layer_2", "obsm/last", "obsm/last_layer_2"}
    assert info.size_bytes == path.stat().st_size
    assert info.tokens_file is None
    as_json = json.loads(info.to_json())
    assert as_json["provenance"]["model"] == {"name": "tiny"}
    assert as_json["layers"] == [9, 2]
    text = info.to_text()
    assert '{"name": "tiny"}' in text
    assert "4 (float16)" in text
    assert max(map(len, text.splitlines())) < 300


def test_a_tokens_file_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "genes.h5")
    path = tmp_path / "genes.tokens.h5"
    with TokenWriter(path, ids=["a", "b"], lengths=[3, 4], d_model=4, layer=9) as writer:
        writer.write(0, np.zeros((3, 4), np.float32))
        writer.write(1, np.zeros((4, 4), np.float32))
        writer.commit({"model": "tiny"})
    info = read_info(path)
    assert (info.format, info.records, info.dtype, info.provenance) == ("genoconv-tokens", 2, "f4", {"model": "tiny"})
    assert info.matrices == (Matrix("data", (7, 4), "none", 9),)
    assert read_info(tmp_path / "genes.h5").tokens_file == str(path)


def test_an_incomplete_file_says_so(tmp_path: Path) -> None:
    write(tmp_path / "genes.h5")
    with h5py.File(tmp_path / "genes.h5", "r+") as file:
        file.attrs["complete"] = False
        del file["uns/provenance"]
    info = read_info(tmp_path / "genes.h5")
    assert not info.complete
    assert "INCOMPLETE" in info.to_text()


def test_what_cannot_be_described(tmp_path: Path) -> None:
    write(tmp_path / "genes.h5")
    whole = (tmp_path / "genes.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.h5").touch()
    (tmp_path / "genes.fa").write_text(">a\nACGT\n")
    h5py.File(tmp_path / "other.h5", "w").close()
    (tmp_path / "new.h5").write_bytes(whole)
    with h5py.File(tmp_path / "new.h5", "r+") as file:
        file.attrs["genoconv_format_version"] = "2.1"
    for name, what in (
        ("cut.h5", "cut short or damaged"),
        ("empty.h5", "found an empty file"),
        ("genes.fa", "found another kind of file"),
        ("other.h5", "found another HDF5 file"),
        ("new.h5", "version 2.1 is not known here"),
        ("missing.h5", "No such file"),
    ):
        with pytest.raises(InputError, match=what) as refused:
            read_info(tmp_path / name)
        assert refused.value.where == str(tmp_path / name)
