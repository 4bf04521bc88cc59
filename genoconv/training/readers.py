"""From a packaged sequence file (FASTA, GenBank, MAF, tar; gzip or xz) to named sequences of upper-case A C G T N."""

import gzip
import lzma
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genoconv.training.sources import Source

_LETTERS = (
    bytes(
        code if (code := ord(chr(byte).upper())) in b"ACGT" else ord("T") if code == ord("U") else ord("N")
        for byte in range(128)
    )
    + b"N" * 128
)
_BLANKS = b" \t\r\n"


def read_source(source: Source, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name, sequence) of the records that a source takes, in file order.

    Args:
        source: What to read.
        folder: Where the package was unpacked.
    """
    name, _, member = source.path.partition("!")
    reader = {"fasta": _fasta, "genbank": _genbank, "maf": _maf, "tar": _fasta}[source.reader]
    data = _tar_member(folder / name, member) if source.reader == "tar" else _decompressed(folder / name)
    for record, sequence in reader(data):
        if not source.records or record in source.records:
            yield record, sequence


def _decompressed(path: Path) -> bytes:
    """The whole file, unpacked by its suffix."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _tar_member(path: Path, member: str) -> bytes:
    """One file of an archive."""
    with tarfile.open(path) as archive:
        file = archive.extractfile(member)
        return file.read() if file else b""


def _fasta(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Records of a FASTA file; the name is the header's first word."""
    for part in re.split(rb"^>", data, flags=re.MULTILINE)[1:]:
        header, _, body = part.partition(b"\n")
        yield header.split()[0].decode("ascii"), body.translate(_LETTERS, _BLANKS)


def _genbank(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Records of a GenBank flat file; the name is the VERSION."""
    for part in re.split(rb"^//", data, flags=re.MULTILINE):
        version = re.search(rb"^VERSION +(\S+)", part, flags=re.MULTILINE)
        _, found, origin = part.partition(b"\nORIGIN")
        if version and found:
            yield version[1].decode("ascii"), origin.partition(b"\n")[2].translate(_LETTERS, _BLANKS + b"0123456789")


def _maf(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Sequences of a multiple alignment, put back to their coordinates: unaligned stretches are N.

    A sequence begins with its first aligned base and ends with its last one. Only rows on the forward strand are used.
    """
    blocks: dict[str, list[tuple[int, bytes]]] = {}
    for line in data.splitlines():
        if line.startswith(b"s "):
            _, name, start, _, strand, _, row = line.split()
            if strand == b"+":
                blocks.setdefault(name.decode("ascii"), []).append((int(start), row.translate(_LETTERS, b"-")))
    for sequence, rows in blocks.items():
        first = min(begin for begin, _ in rows)
        whole = np.full(max(begin + len(bases) for begin, bases in rows) - first, ord("N"), dtype=np.uint8)
        for begin, bases in rows:
            whole[begin - first : begin - first + len(bases)] = np.frombuffer(bases, dtype=np.uint8)
        yield sequence, whole.tobytes()
