import gzip
import hashlib
import io
import json
import lzma
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genoconv.errors import EnvironmentProblem, InputError
from genoconv.training.readers import read_source
from genoconv.training.recipe import _Piece, assemble, check, fetch_packages, limit, write
from genoconv.training.sources import FORBIDDEN, SOURCES, Source


def bases(count: int, seed: int) -> bytes:
    return np.random.default_rng(seed).choice(np.frombuffer(b"ACGT", dtype=np.uint8), count).tobytes()


def test_no_source_is_kept_for_the_final_tests() -> None:
    assert FORBIDDEN
    for source in SOURCES:
        assert not any(mark in f"{source.path} {source.accession} {source.organism}" for mark in FORBIDDEN), source.path


def test_the_end_of_chromosome_20_is_held_out() -> None:
    whole = [source for source in SOURCES if "NC_000020" in source.accession]
    assert [source.held_out for source in whole] == [{"20": (60_000_000, 63_025_520)}]


def test_every_source_has_a_checksum_and_is_named_once() -> None:
    assert all(len(source.sha256) == 64 for source in SOURCES)
    assert len({(source.package, source.path) for source in SOURCES}) == len(SOURCES)


def test_packed_files_are_read_by_their_suffix(tmp_path: Path) -> None:
    text = b">one first\nacgtn\nRYU\n>two\nGG\r\nCC\n"
    (tmp_path / "a.fa").write_bytes(text)
    (tmp_path / "a.fa.gz").write_bytes(gzip.compress(text))
    (tmp_path / "a.fa.xz").write_bytes(lzma.compress(text))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("in/a.fna")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    expected = [("one", b"ACGTNNNT"), ("two", b"GGCC")]
    for name in ("a.fa", "a.fa.gz", "a.fa.xz"):
        assert list(read_source(Source("x", "p", name, "", ""), tmp_path)) == expected
    packed = Source("x", "p", "a.tar.gz!in/a.fna", "", "", reader="tar", records=("two",))
    assert list(read_source(packed, tmp_path)) == expected[1:]


def test_genbank_records_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.gbk").write_text(
        "LOCUS       X 12 bp\nVERSION     X1.2  GI:1\nFEATURES\n     gene 1..3\nORIGIN      \n"
        "        1 acgtacgtac gt\n//\n"
        "LOCUS       Y\nVERSION     Y1.1\nORIGIN\n        1 nnrr\n//\n"
    )
    source = Source("x", "p", "a.gbk", "", "", reader="genbank")
    assert list(read_source(source, tmp_path)) == [("X1.2", b"ACGTACGTACGT"), ("Y1.1", b"NNNN")]


def test_alignment_blocks_go_back_to_their_places(tmp_path: Path) -> None:
    (tmp_path / "a.maf").write_text(
        "##maf\na\ns H.22 10 3 + 100 A-cg\ns P.22 5 4 + 90 ACCG\n\na\ns H.22 15 2 + 100 TT\ns P.22 9 2 - 90 TT\n"
    )
    source = Source("x", "p", "a.maf", "", "", reader="maf", records=("H.22",))
    assert list(read_source(source, tmp_path)) == [("H.22", b"ACGNNTT")]


def fake_sources(folder: Path) -> tuple[Source, ...]:
    """Two organisms; the second one repeats 8,192 bases of the first and 8,192 of what the first one holds out."""
    (folder / "p").mkdir(parents=True)
    first, second = bases(60_000, 0), bases(20_000, 1)
    held = first[40_000:50_000]
    copied = first[4096 : 4096 + 8192] + held[:8192] + second
    (folder / "p" / "a.fa").write_bytes(b">chr1\n" + first + b"\n")
    (folder / "p" / "b.fa").write_bytes(b">chr9\n" + copied + b"\n")
    made = Source("Homo sapiens", "p", "a.fa", "", "A", validation="piece", held_out={"chr1": (40_000, 50_000)})
    return made, Source("Mus musculus", "p", "b.fa", "", "B")


def test_what_is_held_out_or_repeated_never_gets_into_training(tmp_path: Path) -> None:
    sources = fake_sources(tmp_path)
    made = assemble(sources, tmp_path)
    assert [piece.name for piece in made.train["Homo sapiens"]] == ["chr1:1-40000", "chr1:50001-60000"]
    assert [piece.name for piece in made.validation["piece"]] == ["chr1:40001-50000"]
    mouse = made.train["Mus musculus"][0].sequence
    assert mouse[:16_384] == b"N" * 16_384
    assert b"N" not in mouse[16_384:]
    assert made.dropped == {"Homo sapiens": 0, "Mus musculus": 16_384}


def test_organisms_but_one_can_be_limited(tmp_path: Path) -> None:
    made = assemble(fake_sources(tmp_path), tmp_path)
    made.train["Mus musculus"].append(_Piece("a:b:101-160", b"ACGT" * 15))
    length = len(made.train["Mus musculus"][0].sequence)
    limit(made, length + 10)
    assert [piece.name for piece in made.train["Homo sapiens"]] == ["chr1:1-40000", "chr1:50001-60000"]
    assert [piece.name for piece in made.train["Mus musculus"]] == [f"chr9:1-{length}", "a:b:101-110"]
    assert made.train["Mus musculus"][1].sequence == b"ACGTACGTAC"
    limit(made, 5000)
    assert [piece.name for piece in made.train["Mus musculus"]] == ["chr9:1-5000"]


def test_the_files_and_the_summary_agree(tmp_path: Path) -> None:
    sources = fake_sources(tmp_path)
    summary = write(assemble(sources, tmp_path), sources, tmp_path / "out")
    assert summary == json.loads((tmp_path / "out" / "recipe.json").read_text())
    human = (tmp_path / "out" / "train" / "homo_sapiens.fa").read_text().splitlines()
    assert sum(len(line) for line in human if not line.startswith(">")) == 50_000
    assert summary["train_bases"] == 50_000 + 20_000
    assert summary["human_share"] == round(5 / 7, 4)
    assert summary["validation"] == [{"name": "piece", "ranges": ["chr1:40001-50000"], "bases": 10_000}]
    assert (tmp_path / "out" / "validation" / "piece.fa").read_text().startswith(">chr1:40001-50000\n")


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    source, _ = fake_sources(tmp_path)
    right = hashlib.sha256((tmp_path / "p" / "a.fa").read_bytes()).hexdigest()
    check(replace(source, sha256=right), tmp_path / "p")
    with pytest.raises(InputError, match="found " + right):
        check(replace(source, sha256="0" * 64), tmp_path / "p")
    with pytest.raises(InputError, match="found missing"):
        check(replace(source, path="c.fa"), tmp_path / "p")


def test_packages_at_hand_are_not_downloaded_and_apt_is_asked_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one_1.0_all.deb").touch()
    monkeypatch.setattr("shutil.which", lambda name: None)
    fetch_packages({"one"}, tmp_path)
    with pytest.raises(EnvironmentProblem, match="apt-get"):
        fetch_packages({"one", "two"}, tmp_path)
