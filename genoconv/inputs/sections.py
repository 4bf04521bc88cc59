"""From the bytes of a FASTA file to its header lines and stretches of sequence lines, whatever the letters are."""

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from genoconv.errors import InputError
from genoconv.inputs.sources import Source

# 256 KiB stays in the second-level cache over the passes of `normalise`.
BLOCK_BYTES = 1 << 18
# A line longer than this (a whole chromosome on one line) is handed on in pieces.
LINE_BYTES = 1 << 16
HEADER_BYTES = 1 << 20
MANY_BYTES = 1 << 12

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_LONE_RETURN = re.compile(rb"\r(?=[^\r\n])")
_COMMENT = re.compile(rb"\n;[^\n]*")


class Section(NamedTuple):
    """A header line or a stretch of sequence lines of one record.

    Attributes:
        is_header: True for a header line.
        line: 1-based line of its first byte.
        content: The header without `>` and line ending; or sequence lines with their endings, comments taken out.
        begin: Offset of its first byte in the decompressed file.
        end: Offset of the byte after it.
    """

    is_header: bool
    line: int
    content: bytes
    begin: int
    end: int


class PlainRecords(NamedTuple):
    """Whole records of nothing but A, C, G, T and N in upper case, in plain lines.

    Attributes:
        lines: 1-based lines of their headers.
        headers: Without `>` and line ending.
        sequences: Without line endings; none is empty.
    """

    lines: list[int]
    headers: list[bytes]
    sequences: list[bytes]


def sections(source: Source) -> Iterator[Section]:
    """Split one FASTA file into headers and stretches of sequence lines, without looking at the letters.

    Raises:
        InputError: The file as a whole cannot be used.
    """
    return (part for part in _parts(source, whole=False) if isinstance(part, Section))


def records_or_sections(source: Source) -> Iterator[Section | PlainRecords]:
    """The same, with records together that need no looking at one by one: short ones take half the time then.

    Raises:
        InputError: The file as a whole cannot be used.
    """
    return _parts(source, whole=True)


def _parts(source: Source, *, whole: bool) -> Iterator[Section | PlainRecords]:
    line = 1
    headers = 0
    with source.open() as stream:
        for block, offset, starts_line in _blocks(stream, source.name):
            position = 0
            looked_at = 0 if whole else len(block)
            while position < len(block):
                begin, is_header = position, starts_line and block[position] == ord(">")
                if is_header and begin >= looked_at:
                    looked_at = _last_header(block)
                    plain = _plain_records(block[begin:looked_at], line)
                    if plain is not None:
                        yield plain
                        headers += len(plain.headers)
                        line += _count_lines(block, begin, looked_at)
                        position = looked_at
                        continue
                if is_header:
                    position = block.find(b"\n", begin) + 1 or len(block)
                    content = _header(block[begin + 1 : position], source.name, line)
                    headers += 1
                else:
                    position = _next_header(block, begin)
                    content = _sequence_lines(block[begin:position], source.name, line, starts_line=starts_line)
                if headers:
                    yield Section(is_header, line, content, offset + begin, offset + position)
                else:
                    _refuse_text(content, source.name, line)
                line += 1 if is_header else _count_lines(block, begin, position)
                starts_line = True
    if not headers:
        raise InputError(
            "the file is empty" if line == 1 else "the file holds no FASTA record: no line starts with '>'",
            where=source.name,
            fix="give a FASTA file",
        )


def split_header(header: bytes) -> tuple[str, str]:
    """Split a header into id (up to the first white space) and description; UTF-8, else Latin-1."""
    try:
        header.decode()
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = "latin-1"
    parts = header.split(maxsplit=1)
    if header[:1].isspace() or not parts:
        return "", header.strip().decode(encoding)
    return parts[0].decode(encoding), parts[1].strip().decode(encoding) if len(parts) > 1 else ""


def _blocks(stream: BinaryIO, name: str) -> Iterator[tuple[bytes, int, bool]]:
    """Read blocks that end where a line ends (unless it is very long); with their offset, and if they begin a line."""
    starts_line = True
    offset = 0
    while block := stream.read(BLOCK_BYTES):
        if offset == 0:
            if block.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise InputError("the file is UTF-16 text", where=name, fix=f"iconv -f UTF-16 -t UTF-8 {name}")
            if block.startswith(BYTE_ORDER_MARK):
                block, offset = block.removeprefix(BYTE_ORDER_MARK), len(BYTE_ORDER_MARK)
        last_line = block.rfind(b"\n") + 1
        if last_line < len(block):
            whole = (last_line or starts_line) and block[last_line] in b">;"
            block += stream.readline(HEADER_BYTES if whole else LINE_BYTES)
        yield block, offset, starts_line
        offset += len(block)
        starts_line = block.endswith(b"\n")


def _count_lines(block: bytes, begin: int, end: int) -> int:
    """Line ends in a stretch; of many bytes by numpy, in a quarter of the time."""
    if end - begin < MANY_BYTES:
        return block.count(b"\n", begin, end)
    return int(np.count_nonzero(np.frombuffer(block, dtype=np.uint8)[begin:end] == ord("\n")))


def _next_header(block: bytes, position: int) -> int:
    """Index of the next `>` that begins a line, or the end of the block."""
    stop = block.find(b">", position)
    while stop >= 0 and (stop == 0 or block[stop - 1] != ord("\n")):
        stop = block.find(b">", stop + 1)
    return len(block) if stop < 0 else stop


def _last_header(block: bytes) -> int:
    """Index of the last `>` that begins a line other than the first, or 0."""
    found = block.rfind(b">")
    while found > 0 and block[found - 1] != ord("\n"):
        found = block.rfind(b">", 0, found)
    return max(found, 0)


def _plain_records(records: bytes, line: int) -> PlainRecords | None:
    """Splits whole records, each with its line endings, or None if there are none or one of them is not plain.

    Args:
        records: Begins with `>`, if it is not empty, and ends where a line does.
        line: 1-based line of its first byte.
    """
    if not records or any(byte in records for byte in (b"\r", b";", b"\0")):
        return None
    letters = np.frombuffer(records, dtype=np.uint8)
    line_ends = np.flatnonzero(letters == ord("\n"))
    line_starts = np.concatenate(([0], line_ends[:-1] + 1))
    headers = np.flatnonzero(letters[line_starts] == ord(">"))  # which lines
    begins = line_starts[headers]
    names = _slices(records, begins + 1, line_ends[headers])
    sequences = _slices(records, line_ends[headers] + 1, np.append(begins[1:], len(records)) - 1)
    if len(line_ends) > 2 * len(headers):
        sequences = [lines.replace(b"\n", b"") for lines in sequences]
    if not all(sequences) or b"".join(sequences).translate(None, b"ACGTN"):
        return None
    return PlainRecords((line + headers).tolist(), names, sequences)


def _slices(block: bytes, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> list[bytes]:
    return [block[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def _header(content: bytes, name: str, line: int) -> bytes:
    content = content.rstrip(b"\r\n")
    if b"\r" in content:
        raise _lone_return(name, line)
    if len(content) >= HEADER_BYTES:
        raise InputError(
            f"a header longer than {HEADER_BYTES} bytes", where=f"{name}, line {line}", fix="is this really FASTA?"
        )
    return content


def _sequence_lines(lines: bytes, name: str, line: int, *, starts_line: bool) -> bytes:
    if b"\r" in lines and (lone := _LONE_RETURN.search(lines)):
        raise _lone_return(name, line + lines.count(b"\n", 0, lone.start()))
    if b";" not in lines:
        return lines
    return _COMMENT.sub(b"\n", b"\n" + lines)[1:] if starts_line else _COMMENT.sub(b"\n", lines)


def _lone_return(name: str, line: int) -> InputError:
    return InputError(
        "lines end in carriage returns alone (the old Macintosh style)",
        where=f"{name}, line {line}",
        fix=f"convert it on the way: tr '\\r' '\\n' < {name} | genoconv ... -",
    )


_OTHER_FORMATS = (
    (b"@", "this looks like FASTQ", "convert it first: seqtk seq -A reads.fq > reads.fa"),
    (b"LOCUS ", "this looks like GenBank", "export it as FASTA"),
    (b"ID   ", "this looks like EMBL", "export it as FASTA"),
    (b"<", "this looks like HTML or XML", "was an error page downloaded in the place of the file?"),
    (b"BAM\1", "this is a BAM file", "convert it first: samtools fasta reads.bam > reads.fa"),
    (b"\x89HDF", "this is an HDF5 file", "give the FASTA file"),
)


def _refuse_text(content: bytes, name: str, line: int) -> None:
    """Refuse anything but blank lines before the first header.

    Raises:
        InputError: There is text; names the line, and the format when it is a well-known one.
    """
    for number, text in enumerate(content.splitlines(), line):
        if not text.strip():
            continue
        what, fix = f"text before the first '>': {text[:40]!r}"[:80], "each sequence needs a header line: >id"
        for start, looks, mend in _OTHER_FORMATS:
            if text.startswith(start):
                what, fix = f"FASTA was expected, {looks}", mend
        raise InputError(what, where=f"{name}, line {number}", fix=fix)
