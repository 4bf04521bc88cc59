"""First pass over the input: every fault is found before any computing; what stays are ids and numbers per record."""

import gc
import hashlib
import threading
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from genoconv.errors import InputError
from genoconv.inputs.batches import LOOKAHEAD_BYTES, RECORD_BYTES
from genoconv.inputs.fasta import BadRecord, LetterPolicy, Named, Record, Records, Source, Together, read_together

if TYPE_CHECKING:
    from genoconv.inputs.regions import Region

DuplicatePolicy = Literal["error", "first", "number", "keep"]

HELD_BYTES = 4 * LOOKAHEAD_BYTES
"""The records of an input that takes no more memory than this are held from the first pass on, and not read again.

Of 100,000 reads of 300 bases the second reading takes a third of the host's time, in which a GPU has nothing to do.
"""


class Reader(Protocol):
    """Reads the records of an input; any number of times, always the same."""

    def read(self) -> Iterator[Together | Record | BadRecord]:
        """Yield the records in order."""

    def file_sha256(self, abandoned: threading.Event) -> dict[str, str]:
        """Name of each file that is read -> sha256 of its bytes on disk; `abandoned` breaks it off."""


@dataclass(eq=False)
class Scan:
    """What is known of an input after one pass; row i of everything is record i of `records()`.

    Attributes:
        ids: Output ids, (n,): as found, or numbered when asked for.
        lengths: Bases per record, (n,) int64.
        n_counts: How many of them are N, (n,) int64.
        starts: 0-based start in the source sequence, (n,) int64; 0 for whole records.
        ends: 0-based end, exclusive, (n,) int64.
        strands: "+" or "-", (n,).
        source_index: Which of `sources` a record comes from, (n,) int32.
        replaced: Upper-case letter as found -> how often it was changed or dropped, over all records.
        lowercase: Number of letters found in lower case, over all records.
        failures: Records that cannot be used, in input order.
        skipped: Records left out by the policy "first".
        sources: Names of the sequence files as the user gave them.
        file_sha256: Name of each input file -> sha256 of its bytes on disk.
        held: All sequences, (n,), of an input that is not read again.
    """

    ids: list[str]
    lengths: npt.NDArray[np.int64]
    n_counts: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    strands: list[str]
    source_index: npt.NDArray[np.int32]
    replaced: Counter[str]
    lowercase: int
    failures: list[BadRecord]
    skipped: list[BadRecord]
    sources: list[str]
    file_sha256: dict[str, str]
    held: list[bytes] | None = field(repr=False)
    _reader: Reader = field(repr=False)
    _digests: bytes = field(repr=False)
    _left_out: frozenset[int] = field(repr=False)
    _renamed_from: dict[int, str] = field(repr=False)

    @property
    def total_bases(self) -> int:
        """Sum of all lengths in bases."""
        return int(self.lengths.sum())

    @cached_property
    def digests(self) -> npt.NDArray[np.uint8]:
        """The sha256 of each normalised sequence, (n, 32) uint8; of what is held they are made when first asked for."""
        found = self._digests if self.held is None else _sha256(self.held)
        return np.frombuffer(found, dtype=np.uint8).reshape(-1, 32)

    @cached_property
    def records_sha256(self) -> str:
        """One checksum (hex) over the ids and sequences of all records, in order."""
        digest = hashlib.sha256()
        for name, strand, own in zip(self.ids, self.strands, self.digests, strict=True):
            digest.update(f"{name}\0{strand}\0".encode("utf-8", "surrogateescape"))
            digest.update(own.tobytes())
        return digest.hexdigest()

    def some(self, rows: Sequence[int]) -> Records:
        """Some records of an input that is held."""
        assert self.held is not None
        return Records([self.ids[row] for row in rows], [self.held[row] for row in rows])

    def records(self) -> Iterator[Named]:
        """Yield exactly the scanned records, in order, under their output ids; a large input is read a second time.

        Raises:
            InputError: The input is not what it was at the first pass.
        """
        if self.held is not None:
            yield from map(Named, self.ids, self.held)
            return
        row = 0
        for number, record in enumerate(_good(self._reader)):
            if number in self._left_out:
                continue
            known = row < len(self.ids)
            if not known or record.id != self._renamed_from.get(row, self.ids[row]) or self._differs(record, row):
                raise _changed(f"{record.source}, record {record.id!r}")
            yield Named(self.ids[row], record.sequence)
            row += 1
        if row != len(self.ids):
            raise _changed(f"{len(self.ids)} records before, {row} now")

    def _differs(self, record: Record, row: int) -> bool:
        known: bytes = self.digests[row].tobytes()
        return hashlib.sha256(record.sequence).digest() != known


def _good(reader: Reader) -> Iterator[Record]:
    """The good records of an input."""
    for item in reader.read():
        if isinstance(item, Together):
            yield from item.each()
        elif isinstance(item, Record):
            yield item


def _sha256(sequences: Iterable[bytes]) -> bytes:
    return b"".join([hashlib.sha256(sequence).digest() for sequence in sequences])


@dataclass(frozen=True)
class FastaReader:
    """Reads whole records; can be read any number of times."""

    sources: tuple[Source, ...]
    policy: LetterPolicy

    def read(self) -> Iterator[Together | Record | BadRecord]:
        """Yield records in file order."""
        return read_together(self.sources, self.policy)

    def file_sha256(self, abandoned: threading.Event) -> dict[str, str]:
        """Name of each file -> sha256 of its bytes."""
        return {source.name: source.sha256(abandoned) for source in self.sources}


def scan(
    paths: Sequence[str | Path],
    policy: LetterPolicy,
    *,
    duplicates: DuplicatePolicy = "error",
    regions: "Sequence[Region] | None" = None,
) -> Scan:
    """Read everything once and check it; holds one record at a time beside those that it keeps (`HELD_BYTES`).

    Args:
        paths: FASTA files, plain or compressed; "-" is standard input.
        policy: What happens to letters other than A, C, G, T, N.
        duplicates: Records with the same id are an error, or only the "first" is kept, or they are "number"ed
            (`x`, `x_2`, ...), or they "keep" their common id.
        regions: Take these stretches of the sequences, in this order, in the place of whole records.

    Raises:
        InputError: A file cannot be used as a whole, ids are not unique, or no region lies on any sequence.
    """
    sources = tuple(Source.of(path) for path in paths)
    reader: Reader = FastaReader(sources, policy)
    if regions is not None:
        # Imported here because it imports pyfaidx and Biopython, which take a second.
        from genoconv.inputs.regions import RegionReader

        reader = RegionReader(sources, policy, regions)
    rows = _Rows([source.name for source in sources], duplicates, of_regions=regions is not None)
    abandoned = threading.Event()
    with ThreadPoolExecutor(1) as beside, _no_collection():
        file_sha256 = beside.submit(reader.file_sha256, abandoned)
        try:
            for item in reader.read():
                if isinstance(item, BadRecord):
                    rows.failures.append(item)
                elif isinstance(item, Together):
                    rows.add_together(item)
                else:
                    rows.add(item)
            return rows.finish(reader, file_sha256.result())
        finally:
            abandoned.set()  # an error, or a signal, does not wait until a hundred gigabytes are read


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python does not look for rings of objects, of which records make none, each time that there are more of them.

    Of 100,000 reads of 300 bases that took a quarter of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Rows:
    """Collects ids and numbers per record."""

    def __init__(self, sources: list[str], duplicates: DuplicatePolicy, *, of_regions: bool) -> None:
        self.of_regions = of_regions
        self.sources = sources
        self.index_of = {name: index for index, name in reversed(list(enumerate(sources)))}
        self.duplicates = duplicates
        self.ids: list[str] = []
        self.numbers = array("q")  # six a record
        self.strands: list[str] = []
        self.digests = bytearray()
        self.replaced: Counter[str] = Counter()
        self.lowercase = 0
        self.failures: list[BadRecord] = []
        self.skipped: list[BadRecord] = []
        self.first_row: dict[str, int] = {}
        self.repeats: list[tuple[int, int]] = []
        self.left_out: set[int] = set()
        self.held: list[bytes] | None = []
        self.held_bytes = 0

    def add(self, record: Record) -> None:
        row = len(self.ids)
        first = self.first_row.setdefault(record.id, row)
        if first != row and self.duplicates == "first":
            self.left_out.add(row + len(self.left_out))
            reason = f"the id was used before: {self._place(first)}"
            self.skipped.append(BadRecord(record.id, record.source, record.line, 0, reason, "give it another id"))
            return
        if first != row:
            self.repeats.append((first, row))
        sequence = record.sequence
        self.ids.append(record.id)
        self.strands.append(record.strand)
        source = self.index_of[record.source]
        self.numbers.extend((len(sequence), count_n(sequence), record.start, record.end, source, record.line))
        if record.replaced:
            self.replaced.update(record.replaced)
        self.lowercase += record.lowercase
        self.hold([sequence], len(sequence))

    def add_together(self, records: Together) -> None:
        """The same as adding one by one."""
        ids, (lines, _, sequences) = records.ids, records.plain
        if len(set(ids)) < len(ids) or not self.first_row.keys().isdisjoint(ids):
            for record in records.each():
                self.add(record)
            return
        self.first_row.update(zip(ids, range(len(self.ids), len(self.ids) + len(ids)), strict=True))
        self.ids += ids
        self.strands += "+" * len(ids)
        numbers = np.zeros((len(ids), 6), dtype=np.int64)
        numbers[:, 0] = numbers[:, 3] = [*map(len, sequences)]
        numbers[:, 1] = [*map(count_n, sequences)]
        numbers[:, 4] = self.index_of[records.source]
        numbers[:, 5] = lines
        self.numbers.frombytes(numbers.tobytes())
        self.hold(sequences, int(numbers[:, 0].sum()))

    def hold(self, sequences: list[bytes], bases: int) -> None:
        self.held_bytes += bases + RECORD_BYTES * len(sequences)
        if self.held is not None:
            self.held += sequences
        if self.held_bytes <= HELD_BYTES:
            return
        self.digests += _sha256(sequences if self.held is None else self.held)
        self.held = None

    def finish(self, reader: Reader, file_sha256: dict[str, str]) -> Scan:
        if self.repeats and self.duplicates == "error":
            raise self._not_unique()
        renamed_from = self._number_repeats() if self.duplicates == "number" else {}
        numbers = np.array(self.numbers, dtype=np.int64).reshape(-1, 6)
        return Scan(
            ids=self.ids,
            lengths=numbers[:, 0].copy(),
            n_counts=numbers[:, 1].copy(),
            starts=numbers[:, 2].copy(),
            ends=numbers[:, 3].copy(),
            strands=self.strands,
            source_index=numbers[:, 4].astype(np.int32),
            replaced=self.replaced,
            lowercase=self.lowercase,
            failures=self.failures,
            skipped=self.skipped,
            sources=self.sources,
            file_sha256=file_sha256,
            held=self.held,
            _reader=reader,
            _digests=bytes(self.digests),
            _left_out=frozenset(self.left_out),
            _renamed_from=renamed_from,
        )

    def _place(self, row: int) -> str:
        _, _, start, end, source, line = self.numbers[6 * row : 6 * row + 6]
        if self.of_regions:
            return f"bases {start + 1}-{end} of a sequence in {self.sources[source]} (line {line} of the regions)"
        return f"{self.sources[source]}, line {line}"

    def _not_unique(self) -> InputError:
        first, second = self.repeats[0]
        others = len({self.ids[row] for _, row in self.repeats}) - 1
        more = f" (and {others} more {'id' if others == 1 else 'ids'})" if others else ""
        return InputError(
            f"ids must be unique, {self.ids[first]!r} occurs more than once{more}",
            where=f"{self._place(first)} and {self._place(second)}",
            fix="rename them, or use --duplicates first, number or keep",
        )

    def _number_repeats(self) -> dict[int, str]:
        taken = set(self.ids)
        count: Counter[str] = Counter()
        renamed_from = {}
        for _, row in self.repeats:
            original = self.ids[row]
            count[original] += 1
            while (numbered := f"{original}_{count[original] + 1}") in taken:
                count[original] += 1
            taken.add(numbered)
            renamed_from[row] = original
            self.ids[row] = numbered
        return renamed_from


def count_n(sequence: bytes) -> int:
    """How often N occurs, as a rule never, which is told ten times faster than counted."""
    return sequence.count(b"N") if b"N" in sequence else 0


def _changed(where: str) -> InputError:
    return InputError(
        "the input changed between the first and the second reading",
        where=where,
        fix="run again when nothing writes to the input any more",
    )
