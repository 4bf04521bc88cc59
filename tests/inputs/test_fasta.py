"""Reading FASTA: golden small cases, round trips, Biopython as oracle, and every refusal with its place."""

import gzip
import io
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from Bio import SeqIO
from hypothesis import given, settings
from hypothesis import strategies as st

from genoconv.errors import InputError
from genoconv.inputs import fasta, sections
from genoconv.inputs.fasta import BadRecord, LetterPolicy, Record, Source, read_fasta

DATA = Path(__file__).parent.parent / "data"
PLAIN = LetterPolicy()
PARSE: Any = SeqIO.parse  # Biopython carries no types


def read(folder: Path, content: bytes, policy: LetterPolicy = PLAIN) -> list[Record | BadRecord]:
    path = folder / "x.fa"
    path.write_bytes(content)
    return list(read_fasta([path], policy))


def good(folder: Path, content: bytes, policy: LetterPolicy = PLAIN) -> list[tuple[str, bytes]]:
    items = read(folder, content, policy)
    assert all(isinstance(item, Record) for item in items), items
    return [(item.id, item.sequence) for item in items if isinstance(item, Record)]


def bad(folder: Path, content: bytes, policy: LetterPolicy = PLAIN) -> BadRecord:
    items = read(folder, content, policy)
    found = [item for item in items if isinstance(item, BadRecord)]
    assert len(found) == 1
    # The others go on.
    assert [item.id for item in items if isinstance(item, Record)] == ["before", "after"]
    return found[0]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b">a\nACGT\n>b\nTTGCA\n", id="plain"),
        pytest.param(b">a\nACGT\n>b\nTTGCA", id="no final newline"),
        pytest.param(b">a\r\nAC\r\nGT\r\n>b\r\nTTGCA\r\n", id="CRLF"),
        pytest.param(b">a\r\r\nACGT\r\r\n>b\r\r\nTTGCA\r\r\n", id="CRLF made from CRLF"),
        pytest.param(b">a\nACGT\r\n>b\r\nTTGCA\n", id="mixed endings"),
        pytest.param(b"\n\n>a\n\nAC\n\nGT\n\n\n>b\nTTGCA\n\n", id="blank lines"),
        pytest.param(b">a\nA\nCGT\n>b\nTTG\nC\nA\n", id="ragged lines"),
        pytest.param(b"\xef\xbb\xbf>a\nACGT\n>b\nTTGCA\n", id="byte order mark"),
        pytest.param(b">a\nAC GT\t\n>b\n TTG CA \n", id="white space in lines"),
        pytest.param(b"; made by hand\n>a\n;comment > with\nAC\n;another\nGT\n>b\nTTGCA\n;end", id="comments"),
        pytest.param(b">a\nacgt\n>b\nuugca\n", id="RNA in lower case"),
    ],
)
def test_layouts_read_the_same(tmp_path: Path, content: bytes) -> None:
    assert good(tmp_path, content) == [("a", b"ACGT"), ("b", b"TTGCA")]


def test_a_record_tells_where_it_comes_from_and_what_was_changed(tmp_path: Path) -> None:
    items = read(tmp_path, b">a first  one \nACGTn\n\n>b\tsecond\nacRu\n-Gr.\n")
    path = str(tmp_path / "x.fa")
    assert items == [
        Record("a", "first  one", b"ACGTN", path, 1, {}, 1, 0, 5, "+"),
        Record("b", "second", b"ACNTNGNN", path, 4, {"R": 2, "U": 1, "-": 1, ".": 1}, 4, 0, 8, "+"),
    ]


def test_dropped_gaps_are_counted(tmp_path: Path) -> None:
    (record,) = read(tmp_path, b">a\nAC--GT*\n", LetterPolicy(gaps="drop"))
    assert isinstance(record, Record)
    assert (record.sequence, dict(record.replaced), len(record)) == (b"ACGT", {"-": 2, "*": 1}, 4)


@pytest.mark.parametrize(
    ("header", "identifier", "description"),
    [
        ("gène été".encode(), "gène", "été"),
        ("gène".encode("latin-1"), "gène", ""),
        (b"chr1:1-5|x/y\\z;w=%20 a>b", "chr1:1-5|x/y\\z;w=%20", "a>b"),
        (b">double", ">double", ""),
        ("a\u00a0b c".encode(), "a\u00a0b", "c"),
        (b"a\x1cb", "a\x1cb", ""),
    ],
)
def test_ids_are_data(tmp_path: Path, header: bytes, identifier: str, description: str) -> None:
    (record,) = read(tmp_path, b">" + header + b"\nACGT\n")
    assert isinstance(record, Record)
    assert (record.id, record.description) == (identifier, description)


BEFORE, AFTER = b">before\nACGT\n", b">after\nACGT\n"


@pytest.mark.parametrize(
    ("middle", "policy", "identifier", "position", "words"),
    [
        (b">e\n", PLAIN, "e", 0, "no sequence"),
        (b">e\n\n\n", PLAIN, "e", 0, "no sequence"),
        (b">e\n--\n", LetterPolicy(gaps="drop"), "e", 0, "only gaps"),
        (b">\nACGT\n", PLAIN, "", 0, "no id"),
        (b"> spaced id\nACGT\n", PLAIN, "", 0, "no id"),
        (b">z\0z\nACGT\n", PLAIN, "z\0z", 0, "zero byte"),
        (b">p\nACGT\nMKE\nEE\n", PLAIN, "p", 7, "'E' is not a nucleotide code: looks like protein (line 5)"),
        (b">p\nAC-GT\nA5\n", LetterPolicy(gaps="drop"), "p", 7, "'5' is not a nucleotide code (line 5)"),
        (b">p\nAC-GT\n", LetterPolicy(gaps="refuse"), "p", 3, "'-' is a gap"),
        (b">p\nACG\nAR\n", LetterPolicy(strict=True), "p", 5, "'R' would have to be replaced"),
        (b">p\nACG\n;no\nA>\n", PLAIN, "p", 5, "'>' is not a nucleotide code (line 6)"),
        (b">p\nACGT\nA;CG\n", PLAIN, "p", 6, "';' is not a nucleotide code (line 5)"),
    ],
)
def test_a_bad_record_is_named_and_the_rest_goes_on(
    tmp_path: Path, middle: bytes, policy: LetterPolicy, identifier: str, position: int, words: str
) -> None:
    item = bad(tmp_path, BEFORE + middle + AFTER, policy)
    assert (item.id, item.line, item.position) == (identifier, 3, position)
    assert words in item.reason
    assert item.fix
    assert item.where.startswith(f"{tmp_path / 'x.fa'}, line 3")


@pytest.mark.parametrize(
    ("content", "words", "line"),
    [
        (b"", "empty", None),
        (b"\n\n", "no FASTA record", None),
        (b"; only\n;comments\n", "no FASTA record", None),
        (b"\n\nACGT\n>a\nACGT\n", "text before the first '>'", 3),
        (b"@read\nACGT\n+\nIIII\n", "FASTQ", 1),
        (b"LOCUS       X\n", "GenBank", 1),
        (b"<!DOCTYPE html>\n", "HTML", 1),
        (b">a\rACGT\r>b\rACGT\r", "carriage returns", 1),
        (b">a\nACGT\rACGT\n", "carriage returns", 2),
        (b"\r>a\rACGT\r", "carriage returns", 1),
        (">a\nACGT\n".encode("utf-16"), "UTF-16", None),
        (b">" + b"x" * (sections.HEADER_BYTES + 1) + b"\nACGT\n", "a header longer than", 1),
    ],
)
def test_what_is_not_fasta_is_refused_whole(tmp_path: Path, content: bytes, words: str, line: int | None) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, content)
    assert caught.value.where == str(tmp_path / "x.fa") + (f", line {line}" if line else "")


def test_several_files_are_read_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_bytes(b">%s\nACGT" % name.encode())
    items = list(read_fasta([tmp_path / "b", str(tmp_path / "a")], PLAIN))
    assert [(item.id, item.source, item.line) for item in items] == [
        ("b", str(tmp_path / "b"), 1),
        ("a", str(tmp_path / "a"), 1),
    ]


headers = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=12)
sequences = st.text("ACGTN", min_size=1, max_size=300)


@settings(deadline=None, max_examples=150)
@given(
    records=st.lists(st.tuples(headers, sequences), min_size=1, max_size=8),
    width=st.integers(1, 100),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    lower=st.booleans(),
    members=st.integers(0, 3),
    block=st.integers(1, 64),
)
def test_any_layout_reads_back(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[str, str]],
    width: int,
    end: str,
    last: bool,
    lower: bool,
    members: int,
    block: int,
) -> None:
    lines = []
    for name, sequence in records:
        shown = sequence.lower() if lower else sequence
        lines += [f">{name}", *(shown[start : start + width] for start in range(0, len(shown), width))]
    content = (end.join(lines) + (end if last else "")).encode()
    if members:
        step = -(-len(content) // members)
        content = b"".join(gzip.compress(content[start : start + step]) for start in range(0, len(content), step))
    path = tmp_path_factory.mktemp("layout") / "x"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        # Tiny blocks put their borders everywhere, within lines too.
        patch.setattr(sections, "BLOCK_BYTES", block)
        patch.setattr(sections, "LINE_BYTES", block)
        items = list(read_fasta([path], PLAIN))
    assert [(item.id, item.sequence) for item in items if isinstance(item, Record)] == [
        (name, sequence.encode()) for name, sequence in records
    ]
    line = 1
    for item, (_, sequence) in zip(items, records, strict=True):
        assert item.line == line
        line += 1 + -(-len(sequence) // width)


@settings(deadline=None, max_examples=300)
@given(content=st.text(">;@ACGTNRUacgt-*E \r\n", max_size=80).map(str.encode), block=st.integers(1, 40))
def test_block_borders_never_matter(tmp_path_factory: pytest.TempPathFactory, content: bytes, block: int) -> None:
    path = tmp_path_factory.mktemp("borders") / "x"
    path.write_bytes(content)

    def outcome() -> object:
        try:
            return list(read_fasta([path], PLAIN))
        except InputError:
            return "refused"  # of two faults, which one is told may differ

    whole = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "BLOCK_BYTES", block)
        assert outcome() == whole


@pytest.mark.parametrize("name", ["genes.fa", "ecoli_20kb.fa", "human_transcripts20.fasta.gz"])
def test_biopython_reads_the_same(name: str) -> None:
    content = (DATA / name).read_bytes()
    text = (gzip.decompress(content) if name.endswith("gz") else content).decode()
    expected = [(record.id, str(record.seq).upper().encode()) for record in PARSE(io.StringIO(text), "fasta")]
    assert len(expected) in (1, 20, 21)
    assert [
        (item.id, item.sequence) for item in read_fasta([DATA / name], PLAIN) if isinstance(item, Record)
    ] == expected


def test_a_long_line_is_read_in_pieces(tmp_path: Path) -> None:
    sequence = b"ACGTTGCAN" * 100_000
    assert good(tmp_path, b">a\n" + sequence + b"\n>b\n" + sequence) == [("a", sequence), ("b", sequence)]


LINES = [b">a", b">b c", b">", b"> x", b">d\0e", b">\xe9 f", b">g;", b"ACGT", b"ACGTNACGTN", b"acgt", b"", b"NN"]
LINES += [b";c", b"AC\r", b"A-U", b"AEX", b"A>C", b"A\tC", b"\0"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=30), st.booleans(), st.sampled_from([8, 40, 1 << 18]))
def test_records_taken_together_are_those_taken_one_by_one(lines: list[bytes], ends: bool, block_bytes: int) -> None:
    content = b"\n".join([b">first", b"ACGT", *lines, b">z", b"ACGT", b">last"]) + b"\n" * ends

    def found() -> list[Record | BadRecord] | str:
        with TemporaryDirectory() as folder:
            try:
                return [replace(item, source="x") for item in read(Path(folder), content)]
            except InputError as error:
                return str(error).replace(folder, "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "BLOCK_BYTES", block_bytes)
        together = found()
        patch.setattr(fasta, "records_or_sections", sections.sections)
        assert together == found()


def test_plain_records_are_taken_together(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(b">a b\nAC\nGT\n>c\nNN\n>d\nac\n>e\nA\n>f\nC\n" * 2)
    (first, *rest) = list(sections.records_or_sections(Source.of(path)))
    assert isinstance(first, sections.Section)  # d keeps its block from being plain
    assert len(rest) == 19
    path.write_bytes(b">a b\nAC\nGT\n>c\nNN\n\n>d\nA\n")
    (plain, header, letters) = list(sections.records_or_sections(Source.of(path)))
    assert plain == sections.PlainRecords([1, 4], [b"a b", b"c"], [b"ACGT", b"NN"])
    assert [part.content for part in (header, letters) if isinstance(part, sections.Section)] == [b"d", b"A\n"]


@pytest.mark.parametrize(
    ("headers", "ids"),
    [
        ([b"a", b"b|c", b"d>e"], ["a", "b|c", "d>e"]),
        ([b"a b", b"c", b"d\te  f", b"g "], ["a", "c", "d", "g"]),
        ([b"a\x1cb", b"c"], ["a\x1cb", "c"]),
        ([b"a", b"", b"c"], None),
        ([b"a b", b"", b"c"], None),
        ([b"a b", b" c"], None),
        ([b"a", b"\xc3\xa9"], None),
        ([b"a \xc3\xa9", b"c"], ["a", "c"]),
    ],
)
def test_ids_of_plain_records_are_found_together_or_one_by_one(headers: list[bytes], ids: list[str] | None) -> None:
    assert fasta._ids(headers) == ids
    one_by_one = [sections.split_header(header)[0] for header in headers]
    assert one_by_one == ids or ids is None
