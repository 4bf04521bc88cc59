"""Every input that the fuzzer kept, read again: a clear error or the data as they are, never anything else."""

import base64
import gzip
import json
from pathlib import Path

import pytest

from genoconv.errors import GenoconvError
from genoconv.inputs import sections
from genoconv.inputs.fasta import BadRecord, Record, read_fasta
from genoconv.inputs.letters import LetterPolicy
from genoconv.inputs.scan import scan

CORPUS = Path(__file__).resolve().parents[1] / "data" / "fuzzed_fasta.json"
LETTERS = bytes.maketrans(b"acgtnuURYSWKMBDHVryswkmbdhv-.*", b"ACGTNTT" + b"N" * 23)
GOOD, REPLACED = b"ACGTN", b"URYSWKMBDHV-.*"


def plain_reading(content: bytes) -> list[tuple[int, bytes, bytes]]:
    """Line numbers, headers and letters of FASTA, by the plainest code there is: comments and white space taken out."""
    found: list[tuple[int, bytes, bytes]] = []
    lines = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    for number, line in enumerate(lines, start=1):
        if line.startswith(b">"):
            found.append((number, line[1:], b""))
        elif found and not line.startswith(b";"):
            found[-1] = (*found[-1][:2], found[-1][2] + b"".join(line.split()))
    return found


def check(content: bytes, folder: Path) -> None:
    """Read a file as the program does, and compare it with the plain reading.

    Args:
        content: Its bytes after the first one, which says whether they are compressed.
        folder: Where the file may lie.
    """
    packed, content = content[:1] == b"\x01", content[1:]
    path = folder / "input.fa"
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    items: list[Record | BadRecord] = []
    refusal = None
    try:
        items += read_fasta([path], LetterPolicy())
    except GenoconvError as error:
        refusal = error
    if refusal is not None:
        assert refusal.what
        assert refusal.where
        return
    expected = plain_reading(content)
    assert len(items) == len(expected), (len(items), len(expected))
    for item, (number, header, letters) in zip(items, expected, strict=True):
        assert item.line == number
        if isinstance(item, Record):
            assert item.id in (header.split()[0].decode(encoding, "replace") for encoding in ("utf-8", "latin-1"))
            assert item.sequence == letters.translate(LETTERS), (header, letters)
            assert sum(item.replaced.values()) == sum(letters.upper().count(letter) for letter in REPLACED)
            assert item.lowercase == sum(97 <= letter <= 122 for letter in letters)
        else:
            assert item.reason
            no_id = not header.split() or header[:1].isspace() or b"\0" in header
            assert no_id or not letters or letters.translate(LETTERS).strip(GOOD), (header, letters)
    found = scan([path], LetterPolicy(), duplicates="number")
    assert [record.sequence for record in found.records()] == [
        item.sequence for item in items if isinstance(item, Record)
    ]
    assert len(set(found.ids)) == len(found.ids)


@pytest.mark.parametrize("block", [16, 40, 1 << 18])
def test_the_corpus_is_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(sections, "BLOCK_BYTES", block)
    corpus = json.loads(CORPUS.read_text())
    assert len(corpus) >= 50
    for text in corpus:
        check(base64.b64decode(text), tmp_path)
