"""From the names of sequences to any stretch of them, read by position and not by reading all (pyfaidx).

pyfaidx alone returns wrong letters without a word for some files (lines of unequal length, line endings of two kinds,
carriage returns alone, an index that is out of date) and refuses others (blank lines, gzip, headers that are not
UTF-8). So the index comes from one pass of our own reader, lies in a private folder, and names sequences by number;
sequences whose lines are not all alike, and those in compressed files, are read from a private copy.
"""

import os
import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from pyfaidx import Faidx

from genoconv.errors import EnvironmentProblem, InputError
from genoconv.inputs.letters import WHITESPACE, count_letters_found
from genoconv.inputs.sections import Section, sections, split_header
from genoconv.inputs.sources import Source, scratch_folder

# pyfaidx goes by the name, not by the content, and takes a plain file of such a name for a compressed one.
_INNER_SPACE = re.compile(rb"[ \t\v\f]")
_MISLEADING = (".gz", ".bgz", ".bz2", ".zip")


class _Place(NamedTuple):
    """One line of a .fai index, and the file it is for."""

    source: str
    line: int
    length: int
    offset: int
    line_bases: int
    line_bytes: int
    regular: bool


class _Index(NamedTuple):
    """A .fai file, and size and modification time (in ns) of the file it was made for."""

    path: Path
    stamp: tuple[int, int]


class Genome:
    """The sequences of FASTA files by name.

    Holds numbers per sequence; each process opens the files anew, so it may be forked or sent to another process.

    Attributes:
        lengths: Name -> number of letters as found, in file order.
        source_of: Name -> the file as the user named it.
    """

    def __init__(self, sources: Sequence[Source], wanted: Container[str]) -> None:
        """Read all files once and index them.

        Args:
            sources: FASTA files.
            wanted: Names that will be fetched; others are indexed for their lengths only.

        Raises:
            InputError: A file cannot be used, or a wanted name occurs more than once.
        """
        self.lengths: dict[str, int] = {}
        self.source_of: dict[str, str] = {}
        self._files: dict[str, tuple[Path, int]] = {}
        self._indexes: dict[Path, _Index] = {}
        self._open: dict[tuple[int, Path], Faidx] = {}
        places: dict[str, _Place] = {}
        for source in sources:
            stamp = _stamp(source.path)
            entries: dict[str, _Place] = {}
            for name, place in _survey(source):
                if not name:
                    continue
                if name in places and name in wanted:
                    raise _not_unique(name, places[name], place)
                self.lengths.setdefault(name, place.length)
                self.source_of.setdefault(name, source.name)
                places.setdefault(name, place)
                if name in wanted:
                    entries[name] = place
            direct = source.compression == "none" and not str(source.path).endswith(_MISLEADING)
            in_place = {name: place for name, place in entries.items() if direct and place.regular}
            self._index(source.path, in_place, stamp)
            if copied := entries.keys() - in_place.keys():
                copy, copied_places = _private_copy(source, copied)
                self._index(copy, copied_places, _stamp(copy))

    def fetch(self, name: str, start: int, end: int) -> bytes:
        """Read letters as found, white space taken out.

        Args:
            name: A wanted name.
            start: 0-based.
            end: 0-based, exclusive; within the sequence.

        Raises:
            InputError: The file is not what it was when it was indexed.
        """
        path, number = self._files[name]
        try:
            found: bytes = self._faidx(path).fetch(str(number), start + 1, end).encode()
        except (OSError, UnicodeError) as error:
            raise InputError(f"the sequence cannot be read: {error}", where=f"{path}, record {name!r}") from error
        if len(found) != end - start:
            raise _changed(path)
        return found

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}

    def _index(self, path: Path, places: dict[str, _Place], stamp: tuple[int, int]) -> None:
        if not places:
            return
        for number, name in enumerate(places):
            self._files[name] = (path, number)
        rows = (
            f"{number}\t{place.length}\t{place.offset}\t{place.line_bases}\t{place.line_bytes}\n"
            for number, place in enumerate(places.values())
        )
        index = scratch_folder() / f"{uuid4().hex}.fai"
        index.write_text("".join(rows))
        # pyfaidx compares the times of file and index; the clock of a file server may be ahead of ours.
        os.utime(index, ns=(stamp[1], stamp[1]))
        self._indexes[path] = _Index(index, stamp)

    def _faidx(self, path: Path) -> Faidx:
        key = (os.getpid(), path)
        if key not in self._open:
            index = self._indexes[path]
            if _stamp(path) != index.stamp:
                raise _changed(path)
            self._open[key] = Faidx(path, indexname=index.path, as_raw=True, rebuild=False, build_index=False)
        return self._open[key]


class _Layout:
    """Watches the lines of one sequence: all alike but a shorter last one, or not."""

    def __init__(self, source: str, header: Section) -> None:
        self.source = source
        self.line = header.line
        self.offset = header.end
        self.length = 0
        self.width = 0  # bytes of the first line with its ending, 0 before it is known
        self.unfinished = 0  # bytes of the last line when its ending is not read yet
        self.lines = 0
        self.returns = 0
        self.regular = True
        self.short_line = False

    def add(self, section: Section) -> None:
        content = section.content
        self.length += count_letters_found(content)
        self.returns += content.count(b"\r")
        self.regular &= len(content) == section.end - section.begin and not _INNER_SPACE.search(content)
        ends = np.flatnonzero(np.frombuffer(content, dtype=np.uint8) == ord("\n"))
        if ends.size == 0:
            self.unfinished += len(content)
            return
        widths = np.diff(ends, prepend=-1 - self.unfinished)
        self.unfinished = len(content) - 1 - int(ends[-1])
        self.lines += len(widths)
        self.width = self.width or int(widths[0])
        unequal = np.flatnonzero(widths != self.width)
        if self.short_line or unequal[:-1].size or (unequal.size and not self._may_be_last(widths, int(unequal[0]))):
            self.regular = False
        self.short_line |= bool(unequal.size)

    def _may_be_last(self, widths: npt.NDArray[np.int64], index: int) -> bool:
        return index == len(widths) - 1 and bool(widths[index] < self.width)

    def close(self) -> _Place:
        ending = 2 if self.returns else 1
        width = self.width or self.unfinished + ending
        bare_end = self.unfinished > 0
        regular = (
            self.regular
            and self.returns in (0, self.lines)
            and self.unfinished + ending <= width
            and not (bare_end and self.short_line)
        )
        return _Place(self.source, self.line, self.length, self.offset, width - ending, width, regular)


def _survey(source: Source) -> Iterator[tuple[str, _Place]]:
    """Read one file and yield the name and the place of each sequence."""
    name, layout = "", None
    for section in sections(source):
        if section.is_header:
            if layout is not None:
                yield name, layout.close()
            name, layout = split_header(section.content)[0], _Layout(source.name, section)
        elif layout is not None:
            layout.add(section)
    if layout is not None:
        yield name, layout.close()


def _private_copy(source: Source, names: Container[str]) -> tuple[Path, dict[str, _Place]]:
    """Write some sequences of a file to the scratch folder, letters as found, each on one line."""
    path = scratch_folder() / f"{uuid4().hex}.fa"
    starts: dict[str, int] = {}
    lengths: dict[str, int] = {}
    name = ""
    try:
        with path.open("wb") as copy:
            for section in sections(source):
                if section.is_header:
                    name = split_header(section.content)[0]
                    if name in names:
                        copy.write(b"\n>\n")
                        starts[name], lengths[name] = copy.tell(), 0
                elif name in names:
                    lengths[name] += copy.write(section.content.translate(None, WHITESPACE))
            copy.write(b"\n")
    except OSError as error:
        raise EnvironmentProblem(
            f"sequences cannot be copied to a temporary file: {error.strerror or error}",
            where=str(path),
            fix="set TMPDIR to a folder with enough room, or give plain FASTA with lines of equal length",
        ) from error
    return path, {
        name: _Place(source.name, 0, lengths[name], start, lengths[name], lengths[name] + 1, True)
        for name, start in starts.items()
    }


def _not_unique(name: str, first: _Place, second: _Place) -> InputError:
    return InputError(
        f"a region lies on {name!r}, which is the name of more than one sequence",
        where=f"{first.source}, line {first.line} and {second.source}, line {second.line}",
        fix="rename one of them",
    )


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _changed(path: Path) -> InputError:
    return InputError("the file changed while it was read", where=str(path), fix="run again when nothing writes to it")
