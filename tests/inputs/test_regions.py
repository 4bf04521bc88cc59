"""Regions of real and made-up sequences: letters, strands, names that do not match, places that do not exist."""

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from Bio.Seq import Seq

from genoconv.errors import InputError
from genoconv.inputs.fasta import BadRecord, LetterPolicy, Record, Source, read_fasta
from genoconv.inputs.regions import Region, RegionReader, parse_region, read_regions

DATA = Path(__file__).parent.parent / "data"
PLAIN = LetterPolicy()


def read(path: Path, regions: list[Region], policy: LetterPolicy = PLAIN) -> list[Record | BadRecord]:
    return list(RegionReader((Source.of(path),), policy, regions).read())


def test_genes_cut_from_the_chromosome_are_the_genes() -> None:
    genes = {item.id: item for item in read_fasta([DATA / "genes.fa"], PLAIN) if isinstance(item, Record)}
    cut = read(DATA / "ecoli_20kb.fa", read_regions(DATA / "ecoli_20kb.gff3"))
    by_name = {item.id: item for item in cut if isinstance(item, Record)}
    assert len(by_name) == len(cut) == 22
    for name in ("thrA", "dnaK"):
        assert by_name[name].sequence == genes[f"ecoli_{name}"].sequence
    # On both strands a coding sequence begins with a start codon and ends with a stop codon.
    assert {by_name[name].strand for name in ("thrA", "yaaA")} == {"+", "-"}
    for name in ("thrA", "thrB", "thrC", "yaaA", "yaaJ", "talB", "mog", "dnaK", "dnaJ", "nhaA"):
        assert by_name[name].sequence[:3] in (b"ATG", b"GTG", b"TTG")
        assert by_name[name].sequence[-3:] in (b"TAA", b"TAG", b"TGA")


def test_the_minus_strand_is_the_reverse_complement(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(b">c\nAACCGRn\nTuAC\n")
    forward, backward = read(path, [parse_region("c:2-9"), parse_region("c:2-9(-)")])
    assert isinstance(forward, Record)
    assert isinstance(backward, Record)
    assert forward.sequence == b"ACCGNNTT"
    oracle: Any = Seq("ACCGNNTT")  # Biopython's methods carry no types
    assert backward.sequence == bytes(oracle.reverse_complement()) == b"AANNCGGT"
    assert (backward.id, backward.start, backward.end, backward.strand) == ("c:2-9(-)", 1, 9, "-")
    assert dict(backward.replaced) == {"R": 1, "U": 1}
    assert (backward.lowercase, backward.source, backward.line) == (2, str(path), 0)


def test_ids_can_be_read_back_as_regions() -> None:
    (first,) = read(DATA / "ecoli_20kb.fa", [parse_region("NC_000913.2:101-")])
    assert isinstance(first, Record)
    assert first.id == "NC_000913.2:101-20000(+)"
    (second,) = read(DATA / "ecoli_20kb.fa", [parse_region(first.id)])
    assert first == second


def test_a_sequence_may_be_named_like_a_region(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(b">chr20:101-110\nACGTTGCAAA\n")
    whole, part = read(path, [parse_region("chr20:101-110"), parse_region("chr20:101-110:2-3")])
    assert isinstance(whole, Record)
    assert isinstance(part, Record)
    assert (whole.sequence, part.sequence) == (b"ACGTTGCAAA", b"CG")


@pytest.mark.parametrize(
    ("region", "policy", "words", "position"),
    [
        (Region("c", 5, 21, source="r.bed", line=3), PLAIN, "only 20", 0),
        (Region("c", 5, 5, source="r.bed", line=3), PLAIN, "empty", 0),
        (Region("c", 25, -1, source="r.bed", line=3), PLAIN, "empty", 0),
        (Region("d", 0, 5, source="r.bed", line=3), PLAIN, "no sequence is called 'd'", 0),
        (Region("c", 8, 15, source="r.bed", line=3), PLAIN, r"'E' .* \(base 12\)", 4),
        (Region("c", 15, 17, source="r.bed", line=3), LetterPolicy(gaps="drop"), "only gaps", 0),
        (Region("c", 14, 19, source="r.bed", line=3), LetterPolicy(gaps="refuse"), r"gap.*\(base 16\)", 2),
    ],
)
def test_a_bad_region_is_named_and_the_rest_goes_on(
    tmp_path: Path, region: Region, policy: LetterPolicy, words: str, position: int
) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(b">c\nACGTACGTACGETAC--GTA\n")
    bad, good = read(path, [region, Region("c", 0, 4)], policy)
    assert isinstance(good, Record)
    assert isinstance(bad, BadRecord)
    assert (bad.source, bad.line, bad.position) == ("r.bed", 3, position)
    assert re.search(words, bad.reason)


@pytest.mark.parametrize(("here", "there", "mend"), [("chr", "", "strip"), ("", "chr", "add")])
def test_names_that_do_not_match_are_shown(tmp_path: Path, here: str, there: str, mend: str) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(b"".join(b">%s%d\nACGT\n" % (there.encode(), number) for number in range(1, 6)))
    regions = [Region(f"{here}{number}", 0, 4) for number in (2, 3, 4, 5)]
    with pytest.raises(InputError, match="names do not match") as caught:
        read(path, regions)
    assert f"'{here}2', '{here}3', '{here}4', ..." in caught.value.where
    assert f"'{there}1', '{there}2', '{there}3', ..." in caught.value.where
    assert f"--chr-prefix {mend}" in caught.value.fix


def test_names_without_a_known_mend(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(b">NC_000001.11\nACGT\n")
    with pytest.raises(InputError, match="names do not match") as caught:
        read(path, [Region("chr1", 0, 4)])
    assert "FASTA headers" in caught.value.fix


def test_several_files_and_compression(tmp_path: Path) -> None:
    (tmp_path / "1.fa").write_bytes(b">a\nACGT\n")
    (tmp_path / "2.fa.gz").write_bytes(gzip.compress(b">b\nTT\nG\n\nGC\n"))
    sources = (Source.of(tmp_path / "1.fa"), Source.of(tmp_path / "2.fa.gz"))
    items = list(RegionReader(sources, PLAIN, [Region("b", 1, 5), Region("a", 0, 2)]).read())
    assert [(item.source, getattr(item, "sequence", None)) for item in items] == [
        (str(tmp_path / "2.fa.gz"), b"TGGC"),
        (str(tmp_path / "1.fa"), b"AC"),
    ]
