"""From region strings and BED, GTF or GFF3 files to places on named sequences, 0-based and half-open."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from genoconv.errors import InputError, UsageError
from genoconv.inputs.sources import Source

ChromosomePrefix = Literal["keep", "add", "strip"]

_STRING = re.compile(r"(?P<sequence>.+?)(?::(?P<start>[\d,]+)(?:-(?P<end>[\d,]+)?)?)?(?:\((?P<strand>[+-])\))?")
_GTF_ATTRIBUTE = re.compile(r'(\w+)\s+"([^"]*)"')
_MITOCHONDRION = {("MT", "add"): "chrM", ("chrM", "strip"): "MT"}


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of a named sequence.

    Attributes:
        sequence: Name of the sequence.
        start: 0-based.
        end: 0-based, exclusive; -1 is the end of the sequence.
        strand: "+", or "-" for the reverse complement.
        name: What to call it; empty for its coordinates.
        written: Of a region string, all of it: it may be the name of a whole sequence.
        source: The file it was listed in, as the user named it; empty for a region string.
        line: 1-based line in that file; 0 for a region string.
    """

    sequence: str
    start: int
    end: int
    strand: str = "+"
    name: str = ""
    written: str = ""
    source: str = ""
    line: int = 0

    @property
    def label(self) -> str:
        """What messages call it."""
        end = "" if self.end < 0 else self.end
        return self.name or self.written or f"{self.sequence}:{self.start + 1}-{end}({self.strand})"


def parse_region(text: str) -> Region:
    """Read a region string: 1-based, both ends included, as samtools has it.

    Args:
        text: `chr`, `chr:start`, `chr:start-`, `chr:start-end`; commas in numbers are allowed, and `(-)` or `(+)`
            may follow.

    Raises:
        UsageError: It is not a region.
    """
    match = _STRING.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"a region such as chr1:1,000-2,000 or chr1:1000-2000(-) was expected, found {text!r}")
    start = int((match["start"] or "1").replace(",", "") or 0)
    end = int((match["end"] or "").replace(",", "") or -1)
    if start < 1 or (end != -1 and end < start):
        raise UsageError(
            f"region {text!r}: positions start at 1, and the end is not before the start",
            fix="the reverse strand is written chr1:1000-2000(-)",
        )
    return Region(match["sequence"], start - 1, end, match["strand"] or "+", written=text.strip())


def read_regions(path: str | Path, *, feature: str = "gene", chr_prefix: ChromosomePrefix = "keep") -> list[Region]:
    """Read the regions of a BED, GTF or GFF3 file, plain or compressed; the format is told by the first line.

    Args:
        path: The file.
        feature: Of GTF and GFF3 only the lines of this type are taken (column 3).
        chr_prefix: Change the names of sequences: "add" makes `1` to `chr1`, "strip" the reverse (and MT, chrM).

    Raises:
        InputError: The file cannot be read, a line is not what it should be, or nothing is left.
    """
    source = Source.of(path)
    regions: list[Region] = []
    others: Counter[str] = Counter()
    is_gff: bool | None = None
    for number, line in _data_lines(source):
        where = f"{source.name}, line {number}"
        if is_gff is None:
            is_gff = _looks_like_gff(line.split("\t"))
        if not is_gff:
            regions.append(_from_bed(line, source.name, number, where, chr_prefix))
            continue
        columns = line.split("\t")
        if len(columns) < 9:
            raise InputError(f"9 columns parted by tabs were expected, found {len(columns)}", where=where)
        if columns[2] == feature:
            regions.append(_from_gff(columns, source.name, number, where, chr_prefix))
        else:
            others[columns[2]] += 1
    if not regions:
        present = ", ".join(f"{kind} ({count})" for kind, count in others.most_common(5))
        raise InputError(
            f"there is no feature of type {feature!r}" if others else "the file holds no regions",
            where=source.name,
            fix=f"use --feature with one of: {present}" if others else "BED, GTF or GFF3 was expected",
        )
    return regions


def with_prefix(name: str, change: str) -> str:
    """Name of a chromosome with `chr` added or taken off.

    Args:
        name: As in the region file.
        change: "keep", "add" or "strip".
    """
    if change == "add" and not name.startswith("chr"):
        return _MITOCHONDRION.get((name, change), f"chr{name}")
    if change == "strip":
        return _MITOCHONDRION.get((name, change), name.removeprefix("chr"))
    return name


def _data_lines(source: Source) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank, a comment or a browser line; ends at embedded FASTA."""
    with source.open() as stream:
        for number, raw in enumerate(stream, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                line = raw.decode("latin-1").rstrip("\r\n")
            if line.startswith("##FASTA"):
                return
            if line.startswith(">"):
                raise InputError(
                    "BED, GTF or GFF3 was expected, this looks like FASTA", where=f"{source.name}, line {number}"
                )
            if line.strip() and not line.startswith(("#", "track ", "browser ")) and line != "track":
                yield number, line


def _looks_like_gff(columns: list[str]) -> bool:
    return (
        len(columns) >= 9 and columns[3].isdecimal() and columns[4].isdecimal() and columns[6] in ("+", "-", ".", "?")
    )


def _from_bed(line: str, source: str, number: int, where: str, chr_prefix: ChromosomePrefix) -> Region:
    columns = line.split("\t") if "\t" in line else line.split()
    if len(columns) < 3:
        raise InputError(
            f"BED has at least 3 columns (name, start, end), this line has {len(columns)}",
            where=where,
            fix="BED, GTF or GFF3 was expected",
        )
    start, end = _bounds(columns[1], columns[2], where, first=0)
    name = columns[3] if len(columns) > 3 and columns[3] != "." else ""
    strand = "-" if len(columns) > 5 and columns[5] == "-" else "+"
    return Region(with_prefix(columns[0], chr_prefix), start, end, strand, name, source=source, line=number)


def _from_gff(columns: list[str], source: str, number: int, where: str, chr_prefix: ChromosomePrefix) -> Region:
    start, end = _bounds(columns[3], columns[4], where, first=1)
    attributes = dict(_GTF_ATTRIBUTE.findall(columns[8]))
    if not attributes:
        pairs = (part.strip().partition("=") for part in columns[8].split(";"))
        attributes = {key: unquote(value) for key, _, value in pairs if value}
    keys = (f"{columns[2]}_id", "ID", "gene_id", "Name", "gene_name", "gene", "locus_tag")
    name = next((attributes[key] for key in keys if attributes.get(key)), "")
    strand = "-" if columns[6] == "-" else "+"
    sequence = with_prefix(unquote(columns[0]), chr_prefix)
    return Region(sequence, start - 1, end, strand, name, source=source, line=number)


def _bounds(start: str, end: str, where: str, *, first: int) -> tuple[int, int]:
    """Check start and end; `first` is the number of the first base."""
    if not (start.isdecimal() and end.isdecimal()):
        raise InputError(
            f"start and end must be whole numbers, found {start[:20]!r} and {end[:20]!r}",
            where=where,
            fix="BED, GTF or GFF3 was expected",
        )
    if int(start) < first or int(end) < int(start):
        raise InputError(
            f"start {start} and end {end}: positions start at {first}, and the end is not before the start",
            where=where,
            fix="the reverse strand is a column of its own",
        )
    return int(start), int(end)
