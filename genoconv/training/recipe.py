"""From Debian packages to the FASTA that the built-in models learn from: `python -m genoconv.training.recipe OUT`.

Downloads each package with apt-get (root is not needed), unpacks it beside the output, checks every file it takes
against the checksum in `sources.py`, cuts out the held-out ranges, replaces stretches that occurred before by N, and
writes

    OUT/train/<organism>.fa        one file an organism
    OUT/validation/<name>.fa       held-out ranges; never in the training files
    OUT/recipe.json                bases per organism, share of human, what was held out, what was dropped, checksums
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genoconv.errors import EnvironmentProblem, InputError
from genoconv.training.duplicates import SeenSequence
from genoconv.training.readers import read_source
from genoconv.training.sources import SOURCES, Source

_LINE = 100


@dataclass(slots=True)
class _Piece:
    """A stretch of a record: its name with 1-based inclusive coordinates, and its letters."""

    name: str
    sequence: bytes


@dataclass(slots=True)
class Assembly:
    """What the recipe made.

    Attributes:
        train: Sequences to learn from, by organism.
        validation: Held-out sequences, by name of the file.
        dropped: Bases replaced by N because they occurred before, by organism.
    """

    train: dict[str, list[_Piece]] = field(default_factory=dict)
    validation: dict[str, list[_Piece]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)


def fetch_packages(names: set[str], folder: Path) -> None:
    """Download packages that are not in the folder yet.

    Raises:
        EnvironmentProblem: apt-get is missing or fails.
    """
    missing = sorted(name for name in names if not list(folder.glob(f"{name}_*.deb")))
    if not missing:
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise EnvironmentProblem(
            "the recipe needs apt-get and dpkg-deb",
            fix="run it on Debian or Ubuntu, or pass --packages with the .deb files",
        )
    done = subprocess.run(["apt-get", "download", *missing], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentProblem(
            f"apt-get could not download {', '.join(missing)}: {done.stderr.strip()}", fix="run apt-get update first"
        )


def unpack(name: str, packages: Path, folder: Path) -> None:
    """Unpack one package into folder/name, once."""
    if not (folder / name).exists():
        subprocess.run(["dpkg-deb", "-x", str(next(packages.glob(f"{name}_*.deb"))), str(folder / name)], check=True)


def check(source: Source, folder: Path) -> None:
    """Compare a file with its checksum.

    Raises:
        InputError: The file is missing or differs from the one that the recipe was written for.
    """
    path = folder / source.path.partition("!")[0]
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
    if found != source.sha256:
        raise InputError(
            f"expected a file with sha256 {source.sha256}, found {found}",
            where=f"{source.package}: {source.path}",
            fix="use the package of Debian 12 (bookworm)",
        )


def assemble(sources: tuple[Source, ...], folder: Path) -> Assembly:
    """Read all sources, part them, and drop repeats; what is held out is remembered first, so it never gets in.

    Args:
        sources: What to read, in order: of two copies the first one stays.
        folder: Holds one unpacked package a folder.
    """
    made, seen = Assembly(), SeenSequence()
    for source in (source for source in sources if source.held_out):
        for record, sequence in read_source(source, folder / source.package):
            pieces = [_cut(record, sequence, *source.held_out[record])] if record in source.held_out else []
            made.validation.setdefault(source.validation, []).extend(pieces)
            for piece in pieces:
                seen.add(piece.sequence)
    for source in sources:
        new: list[bytes] = []
        for piece in _training_pieces(source, folder):
            piece.sequence, replaced = seen.mask(piece.sequence)
            made.dropped[source.organism] = made.dropped.get(source.organism, 0) + replaced
            made.train.setdefault(source.organism, []).append(piece)
            new.append(piece.sequence)
        for sequence in new:
            seen.add(sequence)
    return made


def limit(made: Assembly, bases: int, *, whole: str = "Homo sapiens") -> None:
    """Keep the first so many letters of every organism but one, so that the one makes up more of the whole."""
    for organism in made.train.keys() - {whole}:
        kept: list[_Piece] = []
        for piece in made.train[organism]:
            if left := bases - sum(len(before.sequence) for before in kept):
                kept.append(_shortened(piece, left))
        made.train[organism] = kept


def _shortened(piece: _Piece, length: int) -> _Piece:
    """The first letters of a piece, under the name of that range."""
    record, _, place = piece.name.rpartition(":")
    start = int(place.partition("-")[0])
    sequence = piece.sequence[:length]
    return _Piece(f"{record}:{start}-{start + len(sequence) - 1}", sequence)


def _training_pieces(source: Source, folder: Path) -> Iterator[_Piece]:
    """The records of a source without what is held out."""
    for record, sequence in read_source(source, folder / source.package):
        begin, end = source.held_out.get(record, (len(sequence), len(sequence)))
        for first, last in ((0, begin), (end, len(sequence))):
            if first < last:
                yield _cut(record, sequence, first, last)


def _cut(record: str, sequence: bytes, start: int, end: int) -> _Piece:
    """A range of a record, 0-based half-open, named as regions are (1-based inclusive)."""
    return _Piece(f"{record}:{start + 1}-{min(end, len(sequence))}", sequence[start:end])


def write(made: Assembly, sources: tuple[Source, ...], folder: Path) -> dict[str, Any]:
    """Write FASTA files and recipe.json.

    Returns:
        The content of recipe.json.
    """
    for kind, groups in (("train", made.train), ("validation", made.validation)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, pieces in groups.items():
            _write_fasta(folder / kind / f"{name.lower().replace(' ', '_')}.fa", pieces)
    bases = {organism: _bases(pieces) for organism, pieces in made.train.items()}
    summary = {
        "train_bases": sum(bases.values()),
        "human_share": round(bases.get("Homo sapiens", 0) / max(sum(bases.values()), 1), 4),
        "organisms": [
            {
                "organism": organism,
                "bases": count,
                "dropped_as_repeated": made.dropped[organism],
                "sources": [
                    {"package": source.package, "path": source.path, "sha256": source.sha256, "what": source.accession}
                    for source in sources
                    if source.organism == organism
                ],
            }
            for organism, count in bases.items()
        ],
        "validation": [
            {"name": name, "ranges": [piece.name for piece in pieces], "bases": _bases(pieces)}
            for name, pieces in made.validation.items()
        ],
    }
    (folder / "recipe.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _bases(pieces: list[_Piece]) -> int:
    """Letters other than N."""
    return sum(len(piece.sequence) - piece.sequence.count(b"N") for piece in pieces)


def _write_fasta(path: Path, pieces: list[_Piece]) -> None:
    """Write records in lines of 100 letters."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(b">" + piece.name.encode() + b"\n")
            for start in range(0, len(piece.sequence), _LINE):
                file.write(piece.sequence[start : start + _LINE] + b"\n")


def main() -> None:
    """The command line of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m genoconv.training.recipe", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for train/, validation/ and recipe.json")
    parser.add_argument("--most", type=int, metavar="BASES", help="at most so many bases of any organism but human")
    parser.add_argument("--packages", type=Path, help="folder of .deb files; missing ones are downloaded into it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        packages = options.packages or Path(scratch) / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        names = {source.package for source in SOURCES}
        fetch_packages(names, packages)
        for name in sorted(names):
            unpack(name, packages, Path(scratch))
        for source in SOURCES:
            check(source, Path(scratch) / source.package)
        made = assemble(SOURCES, Path(scratch))
        if options.most is not None:
            limit(made, options.most)
        summary = write(made, SOURCES, options.out)
    for row in summary["organisms"]:
        print(f"{row['bases'] / 1e6:8.2f} Mb  {row['organism']}", file=sys.stderr)
    print(f"{summary['train_bases'] / 1e6:8.2f} Mb in all, {summary['human_share']:.1%} human", file=sys.stderr)


if __name__ == "__main__":
    main()
