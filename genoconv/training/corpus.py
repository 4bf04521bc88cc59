"""From FASTA files to packed, memory-mapped token ids: one part to learn from and one to validate on."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genoconv.errors import InputError, UsageError
from genoconv.inputs.fasta import BadRecord, LetterPolicy, Record, read_fasta
from genoconv.inputs.tokens import VOCABULARY, encode

SEPARATOR = VOCABULARY["[SEP]"]
"""Stands after each record; it is never a target of the loss."""

FIRST_BASE, LAST_BASE = VOCABULARY["A"], VOCABULARY["T"]
"""Token ids of the real bases: A C G T are 7 8 9 10."""

LONGEST_GAP = 64
"""Runs of N are cut to this many bases: an assembly gap of millions of N holds nothing to learn from."""

_N = VOCABULARY["N"]
_SUMMARY = "corpus.json"


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of a corpus holds.

    Attributes:
        tokens: Tokens, separators included.
        bases: Real bases (A C G T).
        records: Records, or parts of records.
        gap_bases_cut: N that were left out because their run was longer than 64.
        sha256: Of the packed tokens.
    """

    tokens: int
    bases: int
    records: int
    gap_bases_cut: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """Packed tokens on disk.

    Attributes:
        folder: Holds train.tokens, validation.tokens (one byte a token) and corpus.json.
        train: What there is to learn from.
        validation: What is held out.
    """

    folder: Path
    train: Part
    validation: Part

    def tokens(self, part: str) -> NDArray[np.uint8]:
        """The packed tokens of "train" or "validation", memory-mapped, read-only."""
        return np.memmap(self.folder / f"{part}.tokens", dtype=np.uint8, mode="r")


def build_corpus(
    train: Sequence[str | Path],
    folder: Path,
    *,
    validation: Sequence[str | Path] = (),
    validation_fraction: float = 0.0,
) -> Corpus:
    """Pack FASTA files.

    Args:
        train: Files to learn from; plain, gzip or bgzip, "-" for stdin.
        folder: Where the packed tokens go; made if it is missing.
        validation: Files to validate on.
        validation_fraction: Instead of such files: the last part of every record is held out.

    Raises:
        InputError: A file or one of its records cannot be used, or nothing is left for one of the parts.
        UsageError: Both or neither kind of validation are given.
    """
    if bool(validation) == bool(validation_fraction):
        raise UsageError(
            "either validation files or a validation fraction are needed",
            fix="use --validation or --validation-fraction",
        )
    if not 0 <= validation_fraction < 1:
        raise UsageError(f"a validation fraction lies between 0 and 1, not {validation_fraction}")
    folder.mkdir(parents=True, exist_ok=True)
    with _Writer(folder / "train.tokens") as learnt, _Writer(folder / "validation.tokens") as held_out:
        for record in _records(train):
            head = len(record.sequence) - int(len(record.sequence) * validation_fraction)
            learnt.add(record.sequence[:head])
            held_out.add(record.sequence[head:])
        for record in _records(validation):
            held_out.add(record.sequence)
    corpus = Corpus(folder, learnt.part(), held_out.part())
    for name, part in (("to learn from", corpus.train), ("to validate on", corpus.validation)):
        if part.bases < 2:
            raise InputError(f"expected real bases {name}, found {part.bases}", fix="give longer sequences")
    (folder / _SUMMARY).write_text(json.dumps({"train": asdict(corpus.train), "validation": asdict(corpus.validation)}))
    return corpus


def open_corpus(folder: Path) -> Corpus:
    """Open what `build_corpus` made.

    Raises:
        InputError: It is missing or not complete.
    """
    try:
        summary = json.loads((folder / _SUMMARY).read_text())
        corpus = Corpus(folder, Part(**summary["train"]), Part(**summary["validation"]))
        whole = all(len(corpus.tokens(name)) == part.tokens for name, part in _parts(corpus))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "the packed training data cannot be read", where=str(folder), fix="train into a new folder"
        ) from error
    if not whole:
        raise InputError("the packed training data is not complete", where=str(folder), fix="train into a new folder")
    return corpus


def _parts(corpus: Corpus) -> tuple[tuple[str, Part], ...]:
    """Both parts by name."""
    return (("train", corpus.train), ("validation", corpus.validation))


def _records(paths: Sequence[str | Path]) -> Iterator[Record]:
    """All records; the first one that cannot be used is an error."""
    for record in read_fasta(paths, LetterPolicy()) if paths else ():
        if isinstance(record, BadRecord):
            raise InputError(record.reason, where=record.where, fix=record.fix)
        yield record


def pack(sequence: bytes) -> tuple[NDArray[np.uint8], int]:
    """Turn a record into tokens with a separator at the end.

    Args:
        sequence: A C G T N, upper case.

    Returns:
        Tokens (L + 1,) uint8 with runs of N cut to 64, and the number of N that this left out.
    """
    ids = encode(sequence)
    unknown = ids == _N
    before = np.cumsum(unknown, dtype=np.int64)
    # Length of the run of N up to and including each place: how many N since the last known base.
    run = before - np.maximum.accumulate(np.where(unknown, 0, before))
    kept = run <= LONGEST_GAP
    return np.append(ids[kept], np.uint8(SEPARATOR)), int((~kept).sum())


def pack_files(paths: Sequence[str | Path]) -> NDArray[np.uint8]:
    """All records of FASTA files as packed tokens in memory, (T,).

    Raises:
        InputError: A file or one of its records cannot be used.
    """
    return np.concatenate([pack(record.sequence)[0] for record in _records(paths)])


class _Writer:
    """Packs records into one file."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self._tokens = self._bases = self._records = self._cut = 0

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, sequence: bytes) -> None:
        """Append one record (nothing if it is empty)."""
        if not sequence:
            return
        tokens, cut = pack(sequence)
        self._file.write(tokens.data)
        self._hash.update(tokens.data)
        self._tokens += len(tokens)
        self._bases += int(is_base(tokens).sum())
        self._records += 1
        self._cut += cut

    def part(self) -> Part:
        """What was written."""
        return Part(self._tokens, self._bases, self._records, self._cut, self._hash.hexdigest())


def is_base(tokens: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which tokens are A, C, G or T."""
    return np.asarray((tokens >= FIRST_BASE) & (tokens <= LAST_BASE))
