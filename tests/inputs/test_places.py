"""Region strings, BED, GTF, GFF3: coordinates, strands, names, and every line that is not what it should be."""

import gzip
from pathlib import Path

import pytest

from genoconv.errors import InputError, UsageError
from genoconv.inputs.places import Region, parse_region, read_regions, with_prefix

DATA = Path(__file__).parent.parent / "data"


@pytest.mark.parametrize(
    ("text", "sequence", "start", "end", "strand"),
    [
        ("chr1:1-100", "chr1", 0, 100, "+"),
        ("chr1:1,001-2,000(-)", "chr1", 1000, 2000, "-"),
        ("chr1:5-5(+)", "chr1", 4, 5, "+"),
        ("chr1:500", "chr1", 499, -1, "+"),
        ("chr1:500-", "chr1", 499, -1, "+"),
        ("chr1", "chr1", 0, -1, "+"),
        ("chr1(-)", "chr1", 0, -1, "-"),
        ("HLA-A*01:01:01:01:3-9", "HLA-A*01:01:01:01", 2, 9, "+"),
        ("chr20:40000001-44600000:101-200", "chr20:40000001-44600000", 100, 200, "+"),
    ],
)
def test_region_strings_count_from_one_and_include_the_end(
    text: str, sequence: str, start: int, end: int, strand: str
) -> None:
    assert parse_region(text) == Region(sequence, start, end, strand, written=text)


@pytest.mark.parametrize("text", ["", " ", "chr1:0-5", "chr1:9-5", "chr1:,-5"])
def test_what_is_not_a_region_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_region(text)


@pytest.mark.parametrize("ending", ["bed", "gtf", "gff3"])
def test_the_three_formats_say_the_same(ending: str) -> None:
    regions = read_regions(DATA / f"ecoli_20kb.{ending}")
    assert [(region.name, region.start, region.end, region.strand) for region in regions[:6]] == [
        ("thrL", 189, 255, "+"),
        ("thrA", 336, 2799, "+"),
        ("thrB", 2800, 3733, "+"),
        ("thrC", 3733, 5020, "+"),
        ("yaaX", 5233, 5530, "+"),
        ("yaaA", 5682, 6459, "-"),
    ]
    assert len(regions) == 22
    assert {region.sequence for region in regions} == {"NC_000913.2"}


def read(folder: Path, text: str, **options: str) -> list[tuple[object, ...]]:
    path = folder / "regions"
    path.write_text(text)
    regions = read_regions(path, **options)  # type: ignore[arg-type]
    assert all(region.source == str(path) for region in regions)
    return [(r.sequence, r.start, r.end, r.strand, r.name, r.line) for r in regions]


def test_bed_of_three_columns_with_other_lines(tmp_path: Path) -> None:
    text = "\ufefftrack name=x\nbrowser position\n# comment\n\nchr1\t0\t10\r\nchr2 5 9 gene 0 -\n"
    assert read(tmp_path, text) == [("chr1", 0, 10, "+", "", 5), ("chr2", 5, 9, "-", "gene", 6)]


def test_bed_with_nine_columns_is_not_taken_for_gff(tmp_path: Path) -> None:
    assert read(tmp_path, "chr1\t0\t10\t7\t900\t-\t0\t10\t0\n") == [("chr1", 0, 10, "-", "7", 1)]


def test_compressed_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(b"chr1\t0\t10\n"))
    assert read_regions(path) == [Region("chr1", 0, 10, source=str(path), line=1)]


GFF = """##gff-version 3
chr%201\t.\tgene\t1\t10\t.\t-\t.\tName=gene%20two;other=x
chr1\t.\tmRNA\t1\t10\t.\t+\t.\tID=rna1;Parent=g
chr1\t.\texon\t3\t10\t.\t?\t.\tParent=rna1
##FASTA
>chr1
"""


def test_gff3(tmp_path: Path) -> None:
    assert read(tmp_path, GFF) == [("chr 1", 0, 10, "-", "gene two", 2)]
    assert read(tmp_path, GFF, feature="mRNA") == [("chr1", 0, 10, "+", "rna1", 3)]
    assert read(tmp_path, GFF, feature="exon") == [("chr1", 2, 10, "+", "", 4)]


def test_gtf_takes_the_id_of_the_feature(tmp_path: Path) -> None:
    line = 'chr1\t.\ttranscript\t5\t9\t.\t+\t.\tgene_id "G;1"; transcript_id "T1";\n'
    assert read(tmp_path, line, feature="transcript") == [("chr1", 4, 9, "+", "T1", 1)]
    assert read(tmp_path, line.replace("\ttranscript\t", "\tgene\t")) == [("chr1", 4, 9, "+", "G;1", 1)]


def test_a_missing_feature_names_those_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no feature of type 'CDS'") as caught:
        read(tmp_path, GFF, feature="CDS")
    assert "gene (1), mRNA (1), exon (1)" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("# nothing\n", "no regions", None),
        (">a\nACGT\n", "FASTA", 1),
        ("chr1\t0\t9\nchr1\t7\n", "at least 3 columns", 2),
        ("chrom\tstart\tend\n", "whole numbers", 1),
        ("chr1\t-1\t9\n", "whole numbers", 1),
        ("chr1\t9\t5\n", "not before the start", 1),
        ("chr1\t.\tgene\t1\t9\t.\t+\t.\tID=a\nchr1\t.\tgene\t0\t9\t.\t+\t.\tID=a\n", "start at 1", 2),
        ("chr1\t.\tgene\t1\t9\t.\t+\t.\tID=a\nchr1\t0\t9\n", "9 columns", 2),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, words: str, line: int | None) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, text)
    assert caught.value.where == str(tmp_path / "regions") + (f", line {line}" if line else "")


@pytest.mark.parametrize(
    ("name", "change", "result"),
    [
        ("1", "add", "chr1"),
        ("chr1", "add", "chr1"),
        ("MT", "add", "chrM"),
        ("chr1", "strip", "1"),
        ("chrM", "strip", "MT"),
        ("1", "strip", "1"),
        ("chr1", "keep", "chr1"),
    ],
)
def test_chromosome_prefix(tmp_path: Path, name: str, change: str, result: str) -> None:
    assert with_prefix(name, change) == result
    assert read(tmp_path, f"{name}\t0\t9\n", chr_prefix=change)[0][0] == result
