"""Labelled sequences from tables and FASTA files, and what is said of files that are not."""

import gzip
from pathlib import Path

import pytest

from genoconv.errors import InputError
from genoconv.evaluation.labelled import Columns, read_labelled

TABLE = "kind\tplace\tsequence\nexon\t120\tACgu\nintron\t180\tNNRA\nother\t20\tAC\n"


def test_a_table_gives_labels_groups_and_normalised_sequences(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(TABLE.encode()))
    found = read_labelled(path, Columns(label="kind", group="place", block=100, keep=("exon", "intron")))
    assert found.sequences == (b"ACGT", b"NNNA")
    assert found.labels.tolist() == ["exon", "intron"]
    assert found.groups.tolist() == ["1", "1"]


def test_commas_and_fasta_are_read_too(tmp_path: Path) -> None:
    comma, fasta = tmp_path / "a.csv", tmp_path / "a.fa"
    comma.write_text("label,sequence\nx,ACGT\ny,ACGT\n")
    fasta.write_text(">x|one rest\nAC\nGT\n>y|two\nACGT\n>y|one\nTT\n")
    table, records = (read_labelled(path, Columns()) for path in (comma, fasta))
    assert table.labels.tolist() == ["x", "y"]
    assert table.groups[0] == table.groups[1]  # the same sequence: never on both sides of a split
    assert records.sequences == (b"ACGT", b"ACGT", b"TT")
    assert records.labels.tolist() == ["x", "y", "y"]
    grouped = read_labelled(fasta, Columns(label="2", group="1"))
    assert grouped.labels.tolist() == ["one", "two", "one"]
    assert grouped.groups.tolist() == ["x", "y", "y"]


@pytest.mark.parametrize(
    ("content", "columns", "words"),
    [
        (TABLE, Columns(), "no column 'label'"),
        (TABLE, Columns(label="kind", keep=("exon", "gene")), "no record has the label gene"),
        (TABLE, Columns(label="kind", group="kind", block=5), "not a position"),
        ("label\tsequence\nx\tAC!T\n", Columns(), "position 3"),
        ("label\tsequence\nx\t\n", Columns(), "line 2"),
        ("label\tsequence\n", Columns(), "no records"),
        (">a|b\nACGT\n", Columns(label="3"), "no field 3"),
        (">a\nMKVL\n", Columns(), "protein"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, content: str, columns: Columns, words: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_labelled(path, columns)
    assert words in str(caught.value)
    assert "a.tsv" in str(caught.value)
