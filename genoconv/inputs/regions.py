"""From places (`chr:start-end`, BED, GTF, GFF3) and a genome to records; the minus strand is reverse-complemented."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from Bio.Seq import Seq

from genoconv.errors import InputError
from genoconv.inputs.fasta import BadRecord, LetterPolicy, Record, Source
from genoconv.inputs.genome import Genome
from genoconv.inputs.letters import explain_refusal, normalise
from genoconv.inputs.places import ChromosomePrefix, Region, parse_region, read_regions, with_prefix

__all__ = ["ChromosomePrefix", "Region", "RegionReader", "parse_region", "read_regions"]


@dataclass(frozen=True)
class RegionReader:
    """Reads regions of sequences, in the order of the regions; can be read any number of times."""

    sources: tuple[Source, ...]
    policy: LetterPolicy
    regions: Sequence[Region]

    def read(self) -> Iterator[Record | BadRecord]:
        """Yield a record for each region, or a `BadRecord` in its place.

        Raises:
            InputError: A FASTA file cannot be used, or no region lies on any of its sequences.
        """
        genome = self._genome
        for region in self.regions:
            yield self._record(region, genome)

    def file_sha256(self, abandoned: threading.Event) -> dict[str, str]:
        """Name of each file -> sha256 of its bytes; the region files included."""
        files = {source.name: source for source in self.sources}
        files |= {name: Source.of(name) for name in dict.fromkeys(region.source for region in self.regions) if name}
        return {name: source.sha256(abandoned) for name, source in files.items()}

    @cached_property
    def _genome(self) -> Genome:
        wanted = {region.sequence for region in self.regions} | {region.written for region in self.regions}
        genome = Genome(self.sources, wanted)
        if not any(region.sequence in genome.lengths or region.written in genome.lengths for region in self.regions):
            raise _nothing_matches(self.regions, list(genome.lengths))
        return genome

    def _record(self, region: Region, genome: Genome) -> Record | BadRecord:
        if region.written in genome.lengths:
            # What looks like chr:start-end may be the name of a whole sequence.
            region = Region(region.written, 0, -1, "+", written=region.written)
        length = genome.lengths.get(region.sequence)
        if length is None:
            fix = "check the spelling, or --chr-prefix add or strip"
            return _bad(region, f"no sequence is called {region.sequence!r}", fix)
        end = length if region.end < 0 else region.end
        if end > length:
            reason = f"the region ends at base {end}, but {region.sequence!r} has only {length}"
            return _bad(region, reason, "is it from another release of the genome?")
        if region.start >= end:
            return _bad(region, "the region is empty", "remove it")
        found = genome.fetch(region.sequence, region.start, end)
        piece = normalise(found, self.policy)
        if piece.refused >= 0:
            reason, fix = explain_refusal(found[piece.refused], self.policy)
            return _bad(region, f"{reason} (base {region.start + piece.refused + 1})", fix, piece.refused + 1)
        if not piece.sequence:
            return _bad(region, "the region holds only gaps", "remove it")
        sequence = _reverse_complement(piece.sequence) if region.strand == "-" else piece.sequence
        source = genome.source_of[region.sequence]
        place = f"{region.sequence}:{region.start + 1}-{end}({region.strand})"
        return Record(
            id=region.name or place,
            description=place,
            sequence=sequence,
            source=source,
            line=region.line,
            replaced=dict(piece.replaced),  # that can be sent to another process
            lowercase=piece.lowercase,
            start=region.start,
            end=end,
            strand=region.strand,
        )


def _reverse_complement(sequence: bytes) -> bytes:
    strand: Any = Seq(sequence)  # Biopython's methods carry no types
    return bytes(strand.reverse_complement())


def _bad(region: Region, reason: str, fix: str, position: int = 0) -> BadRecord:
    return BadRecord(region.label, region.source, region.line, position, reason, fix)


def _nothing_matches(regions: Sequence[Region], names: list[str]) -> InputError:
    asked = list(dict.fromkeys(region.sequence for region in regions))
    mends = [mend for mend in ("add", "strip") if any(with_prefix(name, mend) in names for name in asked)]
    return InputError(
        "no region lies on any sequence: the names do not match",
        where=f"regions name {_three(asked)}; sequences are called {_three(names)}",
        fix=f"use --chr-prefix {mends[0]}" if mends else "use the names of the FASTA headers in the regions",
    )


def _three(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
