"""Damage of every kind is found, and said where."""

import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from genoconv.outputs import verification
from genoconv.outputs.hdf5 import Categorical, Column, checksum, structure_checksum
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.token_data import checksums
from genoconv.outputs.tokens import TokenWriter
from genoconv.outputs.verification import verify

VALUES = np.random.default_rng(0).standard_normal((300, 16), dtype=np.float32)


def write_embeddings(path: Path) -> bytes:
    ids = [f"gene-{row}" for row in range(300)]
    obs: dict[str, Column] = {"length": np.arange(300), "strand": Categorical(["+"] * 300), "sha256": ["0" * 64] * 300}
    with EmbeddingWriter(path, ids=ids, d_model=16, poolings=["mean", "max"], layers=[3, 1], obs=obs) as writer:
        for pooling in ("mean", "max"):
            for layer in (3, 1):
                writer.write(0, pooling, layer, VALUES + layer)
        writer.commit({"model": "tiny"})
    return path.read_bytes()


def write_tokens(path: Path) -> bytes:
    values = np.random.default_rng(1).standard_normal((5000, 8), dtype=np.float32)
    with TokenWriter(path, ids=["a", "b"], lengths=[2000, 3000], d_model=8, layer=3) as writer:
        writer.write(0, values[:2000])
        writer.write(1, values[2000:])
        writer.commit({"model": "tiny"})
    return path.read_bytes()


def content(path: Path) -> list[Any]:
    found: list[Any] = []

    def note(name: str, node: Any) -> None:
        held = np.asarray(node[()]).tolist() if isinstance(node, h5py.Dataset) else None
        found.append((name, sorted((key, str(value)) for key, value in node.attrs.items()), held))

    with h5py.File(path) as file:
        note("/", file)
        file.visititems(note)
    return found


@pytest.mark.parametrize("write", [write_embeddings, write_tokens])
def test_a_flipped_bit_is_found_or_harmless(tmp_path: Path, write: Any) -> None:
    path, chance = tmp_path / "file.h5", random.Random(3)
    whole = write(path)
    good = content(path)
    found = 0
    for _ in range(120):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        if verify(path):
            found += 1
        else:
            assert content(path) == good  # it hit a byte that means nothing
    assert found > 60


@pytest.mark.parametrize(
    ("name", "row", "finding"),
    [
        ("X", 70, "X, rows 64 to 127: damaged"),
        ("layers/layer_1", 299, "layers/layer_1, rows 256 to 299: damaged"),
        ("obsm/max", 0, "obsm/max, rows 0 to 63: damaged"),
        ("obsm/max_layer_1", 130, "obsm/max_layer_1, rows 128 to 191: damaged"),
    ],
)
def test_a_damaged_chunk_is_named(tmp_path: Path, name: str, row: int, finding: str) -> None:
    path = tmp_path / "file.h5"
    whole = bytearray(write_embeddings(path))
    with h5py.File(path) as file:
        chunk = file[name].id.get_chunk_info_by_coord((row, 0))
    whole[chunk.byte_offset + 100] ^= 1
    path.write_bytes(whole)
    (found,) = verify(path)
    assert found.startswith(finding)


def test_every_damaged_chunk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "READ_BYTES", 3 * 64 * 16 * 4)
    path = tmp_path / "file.h5"
    whole = bytearray(write_embeddings(path))
    with h5py.File(path) as file:
        for row in (0, 64, 256):
            whole[file["X"].id.get_chunk_info_by_coord((row, 0)).byte_offset] ^= 255
    path.write_bytes(whole)
    assert [line.split(":")[0] for line in verify(path)] == [
        "X, rows 0 to 63",
        "X, rows 64 to 127",
        "X, rows 256 to 299",
    ]


def test_a_damaged_id_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    path.write_bytes(write_embeddings(path).replace(b"gene-123", b"gene-124"))
    assert verify(path) == ["obs/_index is damaged: its checksum does not agree"]


@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_found(tmp_path: Path, part: float) -> None:
    path = tmp_path / "file.h5"
    whole = write_embeddings(path)
    path.write_bytes(whole[: int(part * len(whole))])
    (finding,) = verify(path)
    assert finding.startswith("not a sound HDF5 file: ")


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    assert verify(tmp_path / "missing.h5") == ["there is no such file"]
    assert verify(tmp_path) == ["there is no such file"]
    (tmp_path / "genes.fa").write_text(">a\nACGT\n")
    assert verify(tmp_path / "genes.fa")[0].startswith("not a sound HDF5 file")
    h5py.File(tmp_path / "other.h5", "w").close()
    assert verify(tmp_path / "other.h5") == ["not a file of genoconv: genoconv_format is None"]


def changed(path: Path, change: Any) -> list[str]:
    """Findings after a change by somebody who does not know of the structure's checksum."""
    with h5py.File(path, "r+") as file:
        change(file)
    return [finding for finding in verify(path) if not finding.startswith("the structure")]


def replace(file: h5py.File, name: str, data: Any, **options: Any) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=data, **options).attrs.update(attributes)


def nan_in(name: str) -> Any:
    def change(file: h5py.File) -> None:
        file[name][77, 3] = np.nan

    return change


def set_attribute(name: str, value: Any) -> Any:
    def change(file: h5py.File) -> None:
        file.attrs[name] = value

    return change


EMBEDDING_CHANGES = [
    (set_attribute("genoconv_format_version", "2.0"), "version 2.0 is not known here"),
    (set_attribute("complete", False), "incomplete"),
    (nan_in("X"), "X, row 77: a number is NaN or infinite"),
    (nan_in("obsm/max"), "obsm/max, row 77: a number is NaN or infinite"),
    (lambda file: file["X"].resize(299, axis=0), "X has the shape (299, 16) for 300 records"),
    (lambda file: replace(file, "X", VALUES), "X has no checksums"),
    (lambda file: file.pop("uns"), "uns/provenance is missing"),
    (lambda file: file.pop("X"), "X is missing"),
    (lambda file: file["obs"].pop("length"), "obs has the columns"),
    (lambda file: replace(file, "obs/length", np.arange(299)), "obs/length is damaged"),
    (lambda file: file["obs/strand/codes"].__setitem__(5, -1), "obs/strand/codes is damaged"),
    (lambda file: file["uns/provenance"].attrs.pop("sha256"), "uns/provenance has no checksum"),
]


@pytest.mark.parametrize(("change", "finding"), EMBEDDING_CHANGES, ids=[finding for _, finding in EMBEDDING_CHANGES])
def test_changes_to_embeddings(tmp_path: Path, change: Any, finding: str) -> None:
    write_embeddings(tmp_path / "file.h5")
    assert finding in changed(tmp_path / "file.h5", change)[0]


def swap_offsets(file: h5py.File) -> None:
    file["offsets"][:] = [0, 6000, 5000]


TOKEN_CHANGES = [
    (swap_offsets, "offsets do not rise from 0 over 2 records"),
    (lambda file: file["offsets"].__setitem__(2, 4999), "data has 5000 rows, and offsets end at 4999"),
    (lambda file: file.pop("id"), "id is missing"),
    (nan_in("data"), "data, rows 0 to 1999: damaged (the checksum does not agree)"),
    (lambda file: file["crc32"].__setitem__(1, 0), "crc32 is damaged: its checksum does not agree"),
    (lambda file: file.pop("crc32"), "data has no checksums"),
]


@pytest.mark.parametrize(("change", "finding"), TOKEN_CHANGES, ids=[finding for _, finding in TOKEN_CHANGES])
def test_changes_to_tokens(tmp_path: Path, change: Any, finding: str) -> None:
    write_tokens(tmp_path / "file.tokens.h5")
    assert any(finding in line for line in changed(tmp_path / "file.tokens.h5", change))


def test_numbers_that_are_none_are_found_under_a_good_checksum(tmp_path: Path) -> None:
    path = tmp_path / "file.tokens.h5"
    write_tokens(path)

    def change(file: h5py.File) -> None:
        nan_in("data")(file)
        file["crc32"][0] = checksums(file["data"][:2000])[0]
        file["crc32"].attrs["sha256"] = checksum(file["crc32"][:])

    assert changed(path, change) == ["data, row 77: a number is NaN or infinite"]


def test_every_damaged_stretch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "READ_BYTES", 3000 * 8 * 4)
    path = tmp_path / "file.tokens.h5"
    lengths = (5, 9000, 1, 4096, 4097)
    values = [np.random.default_rng(row).standard_normal((length, 8), np.float32) for row, length in enumerate(lengths)]
    with TokenWriter(path, ids=list("abcde"), lengths=lengths, d_model=8, layer=3) as writer:
        for row, own in enumerate(values):
            writer.write(row, own)
        writer.commit({})
    whole = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        first = file["data"].id.get_offset()
    for base in (5 + 4096, 5 + 8999, 5 + 9000, sum(lengths) - 1):
        whole[first + base * 32 + 7] ^= 16
    path.write_bytes(whole)
    assert [line.split(":")[0] for line in verify(path)] == [
        "data, rows 4101 to 8196",
        "data, rows 8197 to 9004",
        "data, rows 9005 to 9005",
        "data, rows 17198 to 17198",
    ]


def test_a_file_in_chunks_of_version_1_0_is_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "file.tokens.h5"
    write_tokens(path)
    with h5py.File(path, "r+") as file:
        replace(file, "data", file["data"][:], chunks=(1024, 8), fletcher32=True)
        del file["crc32"]
        file.attrs["genoconv_format_version"] = "1.0"
        file.attrs["structure_sha256"] = structure_checksum(file)
    assert verify(path) == []
    with h5py.File(path) as file:
        chunk = file["data"].id.get_chunk_info(2).byte_offset
    whole = bytearray(path.read_bytes())
    whole[chunk + 9] ^= 1
    path.write_bytes(whole)
    assert [line.split(": ")[0] for line in verify(path)] == ["data, rows 2048 to 3071"]


def test_a_matrix_that_lost_a_chunk_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    write_embeddings(path)

    def change(file: h5py.File) -> None:
        file["X"].resize(128, axis=0)
        file["X"].resize(300, axis=0)

    assert changed(path, change) == ["X lacks 3 of its chunks of 64 rows"]


def test_a_change_of_structure_alone_is_found(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "file.h5")
    with h5py.File(tmp_path / "file.h5", "r+") as file:
        file["X"].attrs["layer"] = 2
    assert verify(tmp_path / "file.h5") == [
        "the structure is damaged: names, shapes, types or attributes are not those that were written"
    ]
