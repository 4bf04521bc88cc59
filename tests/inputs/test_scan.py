"""The first pass: numbers per record, failures, duplicate ids; and the second pass agrees with it or says so."""

import gc
import gzip
import hashlib
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from genoconv.errors import InputError
from genoconv.inputs.fasta import LetterPolicy
from genoconv.inputs.places import parse_region, read_regions
from genoconv.inputs.scan import DuplicatePolicy, scan

DATA = Path(__file__).parent.parent / "data"
PLAIN = LetterPolicy()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_an_error_does_not_wait_for_the_checksum_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "large.fa", b"ACGT\n>a\n")
    os.truncate(path, 1 << 38)  # no place on the disk, but minutes of reading
    begin = time.monotonic()
    with pytest.raises(InputError):
        scan([path], PLAIN)
    assert time.monotonic() - begin < 30


def test_numbers_per_record_and_totals(tmp_path: Path) -> None:
    first = write(tmp_path / "1.fa", b">a\nACGTR\n>empty\n>b\nnnacuu\n")
    second = write(tmp_path / "2.fa.gz", gzip.compress(b">c\nAC-\n>p\nMKE\n"))
    found = scan([first, second], PLAIN)
    assert found.ids == ["a", "b", "c"]
    assert found.lengths.tolist() == found.ends.tolist() == [5, 6, 3]
    assert found.starts.tolist() == [0, 0, 0]
    assert found.n_counts.tolist() == [1, 2, 1]
    assert found.strands == ["+", "+", "+"]
    assert [found.sources[index] for index in found.source_index] == [str(first), str(first), str(second)]
    assert [own.tobytes().hex() for own in found.digests] == [
        hashlib.sha256(sequence).hexdigest() for sequence in (b"ACGTN", b"NNACTT", b"ACN")
    ]
    assert found.replaced == {"R": 1, "U": 2, "-": 1}
    assert (found.lowercase, found.total_bases) == (6, 14)
    assert [(item.id, item.source, item.line) for item in found.failures] == [
        ("empty", str(first), 3),
        ("p", str(second), 3),
    ]
    assert found.skipped == []
    assert found.file_sha256 == {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)}
    assert [(record.id, record.sequence) for record in found.records()] == [
        ("a", b"ACGTN"),
        ("b", b"NNACTT"),
        ("c", b"ACN"),
    ]


def test_a_file_of_bad_records_has_no_rows(tmp_path: Path) -> None:
    found = scan([write(tmp_path / "x.fa", b">p\nMKE\n")], PLAIN)
    assert (found.ids, found.lengths.shape, found.digests.shape, found.total_bases) == ([], (0,), (0, 32), 0)
    assert list(found.records()) == []


TWICE = b">x\nA\n>x_2\nCC\n>y\nGGG\n>x\nTTTT\n>x\nAAAAA\n>y\nCCCCCC\n"


def test_duplicate_ids_are_an_error_that_names_both(tmp_path: Path) -> None:
    path = write(tmp_path / "x.fa", TWICE)
    with pytest.raises(InputError, match=r"'x' occurs more than once \(and 1 more id\)") as caught:
        scan([path], PLAIN)
    assert caught.value.where == f"{path}, line 1 and {path}, line 7"
    assert "--duplicates" in caught.value.fix


@pytest.mark.parametrize(
    ("duplicates", "rows", "skipped"),
    [
        ("first", [("x", 1), ("x_2", 2), ("y", 3)], [("x", 7), ("x", 9), ("y", 11)]),
        ("number", [("x", 1), ("x_2", 2), ("y", 3), ("x_3", 4), ("x_4", 5), ("y_2", 6)], []),
        ("keep", [("x", 1), ("x_2", 2), ("y", 3), ("x", 4), ("x", 5), ("y", 6)], []),
    ],
)
@pytest.mark.parametrize("held", [0, 1 << 20])
def test_duplicate_ids_by_policy(
    tmp_path: Path,
    duplicates: DuplicatePolicy,
    rows: list[tuple[str, int]],
    skipped: list[tuple[str, int]],
    held: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("genoconv.inputs.scan.HELD_BYTES", held)
    path = write(tmp_path / "x.fa", TWICE)
    found = scan([path], PLAIN, duplicates=duplicates)
    assert list(zip(found.ids, found.lengths.tolist(), strict=True)) == rows
    assert [(record.id, len(record)) for record in found.records()] == rows
    assert [(item.id, item.line) for item in found.skipped] == skipped
    assert all(f"{path}, line" in item.reason for item in found.skipped)


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(b">a\nACGT\n>b\nTTGG\n", id="another sequence"),
        pytest.param(b">a\nACGT\n>c\nTTTT\n", id="another id"),
        pytest.param(b">a\nACGT\n", id="a record less"),
        pytest.param(b">a\nACGT\n>b\nTTTT\n>c\nA\n", id="a record more"),
    ],
)
def test_a_changed_input_is_noticed(tmp_path: Path, later: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genoconv.inputs.scan.HELD_BYTES", 0)
    path = write(tmp_path / "x.fa", b">a\nACGT\n>b\nTTTT\n")
    found = scan([path], PLAIN)
    path.write_bytes(later)
    with pytest.raises(InputError, match="changed"):
        list(found.records())


def test_a_small_input_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "x.fa", b">a\nACGT\n>b\nTTTT\n")
    found = scan([path], PLAIN)
    path.unlink()
    for _ in range(2):
        assert [(record.id, record.sequence) for record in found.records()] == [("a", b"ACGT"), ("b", b"TTTT")]


def test_real_genes() -> None:
    found = scan([DATA / "genes.fa"], PLAIN)
    assert (len(found.ids), found.total_bases, found.failures) == (21, 91_517, [])
    assert (int(found.lengths.min()), int(found.lengths.max())) == (1040, 32_214)
    assert found.n_counts.sum() == 0


def test_regions_come_out_as_records() -> None:
    found = scan([DATA / "ecoli_20kb.fa"], PLAIN, regions=read_regions(DATA / "ecoli_20kb.bed"))
    assert len(found.ids) == 22
    row = found.ids.index("yaaA")
    assert (found.strands[row], int(found.starts[row]), int(found.ends[row])) == ("-", 5682, 6459)
    assert np.array_equal(found.ends - found.starts, found.lengths)
    assert [record.id for record in found.records()] == found.ids
    assert set(found.file_sha256) == {str(DATA / "ecoli_20kb.fa"), str(DATA / "ecoli_20kb.bed")}


def test_duplicate_regions_name_their_places() -> None:
    regions = [parse_region("NC_000913.2:1-10"), parse_region("NC_000913.2:1-10")]
    with pytest.raises(InputError, match="occurs more than once") as caught:
        scan([DATA / "ecoli_20kb.fa"], PLAIN, regions=regions)
    assert "bases 1-10" in caught.value.where


@pytest.mark.parametrize("name", ["genes.fa", "ecoli_20kb.fa"])
def test_a_scan_can_be_sent_to_another_process(name: str) -> None:
    regions = [parse_region("NC_000913.2:101-200(-)")] if name.startswith("ecoli") else None
    found = scan([DATA / name], PLAIN, regions=regions)
    sent = pickle.loads(pickle.dumps(found))
    assert [record.sequence for record in sent.records()] == [record.sequence for record in found.records()]


def test_collection_goes_on_after_a_scan_however_it_ends(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.fa", tmp_path / "bad.fa"
    good.write_text(">a\nACGT\n")
    bad.write_text("no header\n")
    assert gc.isenabled()
    scan([good], PLAIN)
    assert gc.isenabled()
    with pytest.raises(InputError):
        scan([bad], PLAIN)
    assert gc.isenabled()


@pytest.mark.parametrize("held", [0, 700, 1 << 20])
@pytest.mark.parametrize("block", [16, 1 << 18])
def test_what_is_held_and_what_is_read_again_are_the_same(
    tmp_path: Path, held: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b">a one\nACGT\nNNA\n>b\nTTTT\n>c\nacgtr\n>d\nGNG\n>e\nC\n"
    path = write(tmp_path / "x.fa", content)
    monkeypatch.setattr("genoconv.inputs.scan.HELD_BYTES", held)
    monkeypatch.setattr("genoconv.inputs.sections.BLOCK_BYTES", block)
    found = scan([path], PLAIN)
    sequences = [b"ACGTNNA", b"TTTT", b"ACGTN", b"GNG", b"C"]
    assert (found.held is None) == (held < 1 << 20)
    assert [(record.id, record.sequence) for record in found.records()] == list(zip("abcde", sequences, strict=True))
    assert found.lengths.tolist() == found.ends.tolist() == [7, 4, 5, 3, 1]
    assert found.n_counts.tolist() == [2, 0, 1, 1, 0]
    assert [own.tobytes().hex() for own in found.digests] == [
        hashlib.sha256(sequence).hexdigest() for sequence in sequences
    ]
    if found.held is not None:
        assert [(record.id, record.sequence) for record in found.some([3, 0])] == [("d", b"GNG"), ("a", b"ACGTNNA")]


@pytest.mark.parametrize("block", [16, 1 << 18])
def test_a_repeat_is_found_among_records_that_are_taken_together(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genoconv.inputs.sections.BLOCK_BYTES", block)
    names = [f"r{number}" for number in range(40)]
    for first, second in ((3, 4), (0, 39), (20, 30)):
        repeated = [*names[:second], names[first], *names[second + 1 :]]
        path = write(tmp_path / "x.fa", "".join(f">{name}\nACGT\nAC\n" for name in repeated).encode())
        with pytest.raises(InputError, match=f"'r{first}' occurs more than once") as caught:
            scan([path], PLAIN)
        assert caught.value.where == f"{path}, line {3 * first + 1} and {path}, line {3 * second + 1}"
