"""Prints how fast FASTA is read and normalised on one core, in MB (10^6 bytes of file) per second of processor time.

Usage: python tests/benchmarks/benchmark_fasta.py [FASTA ...]   (without arguments: made-up files of several layouts)
"""

import gzip
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from genoconv.inputs.fasta import LetterPolicy, read_fasta
from genoconv.inputs.scan import scan

POLICY = LetterPolicy()


def made_up(folder: Path, bases: int) -> list[Path]:
    """Write files of the same random bases in different layouts."""
    sequence = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", dtype=np.uint8), size=bases).tobytes()
    masked = bytearray(sequence)
    for start in range(0, bases, 600):
        masked[start : start + 300] = masked[start : start + 300].lower()
    layouts = {
        "chromosome.fa": _format([sequence], 60, b"\n"),
        "soft_masked.fa": _format([bytes(masked)], 60, b"\n"),
        "crlf.fa": _format([sequence], 60, b"\r\n"),
        "one_line.fa": _format([sequence], bases, b"\n"),
        "genes_2kb.fa": _format(_cut(sequence, 2000), 60, b"\n"),
        "reads_300.fa": _format(_cut(sequence, 300), 80, b"\n"),
    }
    for name, content in layouts.items():
        (folder / name).write_bytes(content)
    with gzip.open(folder / "chromosome.fa.gz", "wb", compresslevel=1) as stream:
        stream.write(layouts["chromosome.fa"])
    return [folder / name for name in (*layouts, "chromosome.fa.gz")]


def _cut(sequence: bytes, length: int) -> list[bytes]:
    return [sequence[start : start + length] for start in range(0, len(sequence), length)]


def _format(sequences: list[bytes], width: int, end: bytes) -> bytes:
    lines = []
    for index, sequence in enumerate(sequences):
        lines.append(b">record%d made up" % index)
        lines += _cut(sequence, width)
    return end.join(lines) + end


def megabytes_per_second(path: Path, work: Callable[[Path], object], repeats: int = 3) -> float:
    """Best of several passes; of compressed files the decompressed bytes count."""
    opener = gzip.open if path.read_bytes()[:2] == b"\x1f\x8b" else open
    with opener(path, "rb") as stream:
        size = sum(len(block) for block in iter(lambda: stream.read(1 << 20), b""))
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        work(path)
        best = min(best, time.process_time() - begin)
    return size / best / 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(name) for name in sys.argv[1:]] or made_up(Path(folder), 30_000_000)
        print(f"{'file':24} {'read_fasta MB/s':>16} {'scan MB/s':>12}")
        for path in paths:
            read = megabytes_per_second(path, lambda path: sum(1 for _ in read_fasta([path], POLICY)))
            scanned = megabytes_per_second(path, lambda path: scan([path], POLICY, duplicates="keep"))
            print(f"{path.name:24} {read:16.0f} {scanned:12.0f}")


if __name__ == "__main__":
    main()
