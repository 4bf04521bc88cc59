"""From FASTA bytes to records: sequences of A, C, G, T, N with their ids, or the reason why a record cannot be used."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, overload

from genoconv.inputs.letters import LetterPolicy, count_letters_found, explain_refusal, normalise
from genoconv.inputs.sections import PlainRecords, Section, records_or_sections, split_header
from genoconv.inputs.sources import Source

__all__ = ["BadRecord", "LetterPolicy", "Named", "Record", "Records", "Source", "Together", "read_fasta"]

_SPACES = (b" ", b"\t", b"\v", b"\f")


@dataclass(frozen=True, slots=True)
class Record:
    """One sequence to embed.

    Attributes:
        id: The header up to the first white space; of a region its name, or `chr:start-end(strand)`.
        description: The rest of the header.
        sequence: Only A, C, G, T, N in upper case.
        source: File as the user named it; "-" is standard input.
        line: 1-based line of the header (of a region: of its line in the region file, 0 if it has none).
        replaced: Upper-case letter as found -> how often it was changed or dropped: {"U": 3, "R": 1, "-": 2}.
        lowercase: Number of letters found in lower case (soft-masked).
        start: 0-based start in the source sequence.
        end: 0-based end, exclusive.
        strand: "+" or "-".
    """

    id: str
    description: str
    sequence: bytes
    source: str
    line: int
    replaced: Mapping[str, int]
    lowercase: int
    start: int = 0
    end: int = -1
    strand: str = "+"

    def __post_init__(self) -> None:
        if self.end < 0:
            object.__setattr__(self, "end", self.start + len(self.sequence))

    def __len__(self) -> int:
        return len(self.sequence)


@dataclass(slots=True)
class Named:
    """A record that is known to be good: what it takes to embed it.

    Attributes:
        id: Its output id.
        sequence: Only A, C, G, T, N in upper case.
    """

    id: str
    sequence: bytes

    def __len__(self) -> int:
        return len(self.sequence)


@dataclass(frozen=True, slots=True)
class Records(Sequence[Named]):
    """Several records that are known to be good; two lists, for objects of many short ones take longer to make.

    Attributes:
        ids: As in `Named`.
        sequences: As in `Named`.
    """

    ids: Sequence[str]
    sequences: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> Named: ...

    @overload
    def __getitem__(self, place: slice) -> "Records": ...

    def __getitem__(self, place: int | slice) -> "Named | Records":
        if isinstance(place, slice):
            return Records(self.ids[place], self.sequences[place])
        return Named(self.ids[place], self.sequences[place])


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One record that cannot be used, and why.

    Attributes:
        id: As in `Record`; may be empty.
        source: File as the user named it.
        line: 1-based line of the header (of a region: of its line in the region file, 0 if it has none).
        position: 1-based position of the fault among the record's letters as found, or 0.
        reason: What is wrong with it.
        fix: What the person can do.
    """

    id: str
    source: str
    line: int
    position: int
    reason: str
    fix: str

    @property
    def where(self) -> str:
        """File, line, record and position in words."""
        place = [self.source]
        place += [f"line {self.line}"] if self.line else []
        place += [f"record {self.id!r}"] if self.id else []
        place += [f"position {self.position}"] if self.position else []
        return ", ".join(place)


class Together(NamedTuple):
    """Several whole records of which nothing else is to be told: of nothing but A, C, G, T and N in upper case.

    Attributes:
        source: File as the user named it.
        ids: As in `Record`.
        plain: What they were read from.
    """

    source: str
    ids: list[str]
    plain: PlainRecords

    def each(self) -> Iterator[Record]:
        """The records one by one."""
        for line, header, sequence in zip(*self.plain, strict=True):
            yield _plain(self.source, line, header, sequence)


def read_fasta(
    paths: Sequence[str | Path | Source],
    policy: LetterPolicy,
) -> Iterator[Record | BadRecord]:
    """Read the records of FASTA files in order; never holds more than one of them beside a block of the file.

    Args:
        paths: Files, plain or compressed with gzip or bgzip; "-" is standard input.
        policy: What happens to letters other than A, C, G, T, N.

    Yields:
        A `Record`, or a `BadRecord` in the place of one that is empty, has no id or has letters that are refused.

    Raises:
        InputError: A file as a whole cannot be used: missing, damaged, truncated, empty, not FASTA.
    """
    for item in read_together(paths, policy):
        if isinstance(item, Together):
            yield from item.each()
        else:
            yield item


def read_together(
    paths: Sequence[str | Path | Source],
    policy: LetterPolicy,
) -> Iterator[Together | Record | BadRecord]:
    """The same, with records together that need no looking at one by one: short ones take a third of the time then."""
    for path in paths:
        source = Source.of(path)
        record: _OpenRecord | None = None
        for section in records_or_sections(source):
            if record is not None and (isinstance(section, PlainRecords) or section.is_header):
                yield record.close()
                record = None
            if isinstance(section, PlainRecords):
                ids = _ids(section.headers)
                if ids is None:
                    yield from _one_by_one(section, source.name, policy)
                else:
                    yield Together(source.name, ids, section)
            elif section.is_header:
                record = _OpenRecord(section, source.name, policy)
            elif record is not None:
                record.add(section)
        if record is not None:
            yield record.close()


def _ids(headers: Sequence[bytes]) -> list[str] | None:
    """The ids in some headers, or None if one has none, or not only ASCII."""
    found = b"\n".join(headers)
    if any(space in found for space in _SPACES):
        found = b"\n".join(header.split(maxsplit=1)[0] if header[:1].strip() else b"" for header in headers)
    ids = found.decode().split("\n") if found.isascii() else [""]
    return ids if all(ids) else None


def _one_by_one(plain: PlainRecords, name: str, policy: LetterPolicy) -> Iterator[Record | BadRecord]:
    for line, header, sequence in zip(*plain, strict=True):
        if split_header(header)[0]:
            yield _plain(name, line, header, sequence)
        else:
            yield _OpenRecord(Section(True, line, header, 0, 0), name, policy).close()


def _plain(name: str, line: int, header: bytes, sequence: bytes) -> Record:
    identifier, description = split_header(header)
    return Record(identifier, description, sequence, name, line, {}, 0, 0, len(sequence))


class _OpenRecord:
    """A record that is being read."""

    __slots__ = ("bad", "description", "found", "id", "line", "lowercase", "pieces", "policy", "replaced", "source")

    def __init__(self, header: Section, source: str, policy: LetterPolicy) -> None:
        self.source = source
        self.line = header.line
        self.policy = policy
        self.id, self.description = split_header(header.content)
        self.pieces: list[bytes] = []
        self.found = 0
        self.lowercase = 0
        self.replaced: Counter[str] | None = None
        self.bad: BadRecord | None = None
        if not self.id:
            self.bad = self._bad("the record has no id", "write an id directly after the '>'")
        elif "\0" in self.id:
            self.bad = self._bad("the id holds a zero byte", "remove it: such an id cannot be stored")

    def add(self, section: Section) -> None:
        if self.bad is not None:
            return
        piece = normalise(section.content, self.policy)
        if piece.refused >= 0:
            before = count_letters_found(section.content[: piece.refused])
            line = section.line + section.content.count(b"\n", 0, piece.refused)
            reason, fix = explain_refusal(section.content[piece.refused], self.policy)
            self.bad = self._bad(f"{reason} (line {line})", fix, position=self.found + before + 1)
            self.pieces.clear()
            return
        self.pieces.append(piece.sequence)
        self.found += piece.letters
        self.lowercase += piece.lowercase
        if piece.replaced:
            self.replaced = self.replaced or Counter()
            self.replaced.update(piece.replaced)

    def close(self) -> Record | BadRecord:
        if self.bad is not None:
            return self.bad
        sequence = b"".join(self.pieces)
        if not sequence:
            found = "only gaps" if self.found else "no sequence"
            return self._bad(f"the record has {found}", "remove it, or complete the file")
        replaced = dict(self.replaced) if self.replaced else {}
        return Record(self.id, self.description, sequence, self.source, self.line, replaced, self.lowercase)

    def _bad(self, reason: str, fix: str, *, position: int = 0) -> BadRecord:
        return BadRecord(self.id, self.source, self.line, position, reason, fix)
