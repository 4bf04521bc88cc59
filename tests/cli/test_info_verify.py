"""`genoconv info` and `genoconv verify`: words, JSON, exit codes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genoconv.outputs.store import EmbeddingWriter


@pytest.fixture
def genes(tmp_path: Path) -> Path:
    path = tmp_path / "genes.h5"
    with EmbeddingWriter(path, ids=["a", "b"], d_model=4, poolings=["mean"], layers=[9], obs={}) as writer:
        writer.write(0, "mean", 9, np.ones((2, 4), np.float32))
        writer.commit({"model": "tiny"})
    return path


def test_info(genoconv: Any, genes: Path) -> None:
    text, as_json = genoconv("info", genes), genoconv("info", "--json", genes)
    assert (text.code, text.err) == (0, "")
    assert "records:         2" in text.out
    assert json.loads(as_json.out)["provenance"] == {"model": "tiny"}


def test_info_of_another_file(genoconv: Any, tmp_path: Path) -> None:
    (tmp_path / "genes.fa").write_text(">a\nACGT\n")
    done = genoconv("info", tmp_path / "genes.fa")
    assert (done.code, done.out) == (2, "")
    assert "found another kind of file" in done.err
    assert "Traceback" not in done.err


def test_verify(genoconv: Any, genes: Path, tmp_path: Path) -> None:
    done = genoconv("verify", genes)
    assert (done.code, done.out, done.err) == (0, f"{genes}: good\n", "")
    cut = tmp_path / "cut.h5"
    cut.write_bytes(genes.read_bytes()[:3000])
    done = genoconv("verify", genes, cut, tmp_path / "none.h5")
    assert done.code == 2
    lines = done.out.splitlines()
    assert lines[0] == f"{genes}: good"
    assert lines[1].startswith(f"{cut}: not a sound HDF5 file")
    assert lines[2] == f"{tmp_path / 'none.h5'}: there is no such file"
