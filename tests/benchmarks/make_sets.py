"""Cuts the FASTA files that whole runs are measured on from real human DNA: make_sets.py FOLDER OUTPUT-FOLDER.

FOLDER holds the files of tests/benchmarks/README.md, "Sets for whole runs". What is made:

- human_genes.fa: whole genes of two regions, exons and introns, two sets of transcripts, and the dystrophin gene.
- human_mixed.fa: stretches of these regions, their lengths those of genes: log-normal around 20,000, up to 2.3 million.
- human_300nt.fa: stretches of 300 bases.
"""

import argparse
import csv
import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from genoconv.inputs.fasta import LetterPolicy, Record, read_fasta

CHR20, HLA = "human_hg19_chr20_40.0M_44.6M", "human_hla_class1_region_BA000025.2"
TRANSCRIPTS = ("human_transcripts20.fasta.gz", "gene_families_human_chr20_transcripts.fasta.gz")
DYSTROPHIN = "human_dystrophin_hg19.fasta.gz"
MEDIAN, SPREAD, LONGEST = 20_000, 1.3, 2_300_000

Named = tuple[str, bytes]


def records(path: Path) -> Iterator[Named]:
    """Names and letters of a FASTA file."""
    for record in read_fasta([path], LetterPolicy()):
        assert isinstance(record, Record), record
        yield record.id, record.sequence


def table(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a table with a header."""
    with gzip.open(path, "rt") as file:
        yield from csv.DictReader(file, delimiter="\t")


def genes(folder: Path) -> Iterator[Named]:
    """Whole genes, transcripts, dystrophin."""
    ((_, chr20),), ((_, hla),) = (records(folder / f"{name}.fasta.gz") for name in (CHR20, HLA))
    ends: dict[str, tuple[int, int]] = {}
    for exon in table(folder / f"{CHR20}.exons.tsv.gz"):
        start, end = int(exon["slice_start_1based"]), int(exon["slice_end_incl"])
        low, high = ends.get(exon["symbol"], (start, end))
        ends[exon["symbol"]] = min(low, start), max(high, end)
    for name, (start, end) in ends.items():
        yield f"chr20_{name}", chr20[start - 1 : end]
    for place in table(folder / f"{HLA}.genes.tsv.gz"):
        if place["type"] == "gene":
            start, end = int(place["start_1based"]), int(place["end_incl"])
            yield f"hla_{place['gene']}_{start}_{place['strand']}", hla[start - 1 : end]
    for name in (*TRANSCRIPTS, DYSTROPHIN):
        yield from records(folder / name)


def stretches(dna: bytes, lengths: Iterable[int]) -> Iterator[Named]:
    """Stretches from anywhere."""
    numbers = np.random.default_rng(0)
    for row, length in enumerate(lengths):
        start = int(numbers.integers(0, len(dna) - length + 1))
        yield f"s{row}", dna[start : start + length]


def gene_lengths(bases: int) -> Iterator[int]:
    """Lengths of genes until there are so many bases."""
    numbers, left = np.random.default_rng(1), bases
    while left > 0:
        length = min(LONGEST, int(np.exp(numbers.normal(np.log(MEDIAN), SPREAD))) + 100)
        yield length
        left -= length


def write(path: Path, named: Iterable[Named]) -> None:
    """Write a FASTA file; of records of one name, the first."""
    once = dict[str, bytes]()
    for name, letters in named:
        once.setdefault(name.replace(" ", "_"), letters)
    with path.open("wb") as file:
        for name, letters in once.items():
            file.write(b">%s\n%s\n" % (name.encode(), letters))
    print(f"{path}: {len(once):,} records, {sum(map(len, once.values())):,} bases")


def main() -> None:
    """Make all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--mixed", type=int, default=200_000_000, help="bases of human_mixed.fa")
    parser.add_argument("--reads", type=int, default=200_000, help="records of human_300nt.fa")
    chosen = parser.parse_args()
    chosen.output.mkdir(exist_ok=True)
    files = (f"{CHR20}.fasta.gz", f"{HLA}.fasta.gz", DYSTROPHIN)
    dna = b"".join(letters for name in files for _, letters in records(chosen.folder / name))
    write(chosen.output / "human_genes.fa", genes(chosen.folder))
    write(chosen.output / "human_mixed.fa", stretches(dna, gene_lengths(chosen.mixed)))
    write(chosen.output / "human_300nt.fa", stretches(dna, [300] * chosen.reads))


if __name__ == "__main__":
    main()
