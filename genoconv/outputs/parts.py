"""The folder of part files beside an output: what is done of a run that is not finished, and what run that is."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from genoconv.errors import OutputError
from genoconv.outputs.atomic import explained, sync_folder
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.lock import OutputLock
from genoconv.outputs.part_files import DAMAGE, DRAFT_SUFFIX, Key, Part, PartWriter, Waiting
from genoconv.outputs.patience import signals_waiting
from genoconv.outputs.token_data import TokenData
from genoconv.outputs.token_draft import finished_draft, has_tokens, open_draft, prepare_draft
from genoconv.outputs.token_layout import TokenLayout

PARTS_SUFFIX = ".parts"
DESCRIPTION = "run.json"


def parts_path(output: Path) -> Path:
    """The folder beside an output that holds the finished rows of an unfinished run: genes.h5 -> genes.h5.parts."""
    return output.with_name(output.name + PARTS_SUFFIX)


def part_writer(folder: Path, *, worker: int, about: Mapping[str, Any], interval: float, tokens: bool) -> PartWriter:
    """A writer of parts into a folder; with `tokens`, also of numbers of single bases.

    Raises:
        OutputError: The folder has no place for such numbers.
    """
    draft = open_draft(folder) if tokens else None
    return PartWriter(folder, worker=worker, about=about, interval=interval, tokens=draft)


class Parts:
    """The right to work on one output, and the parts that are done; a context manager that gives the right back.

    What waits in its writers is committed at the end, unless `remove` was called. A folder without any part is removed
    then, one with parts stays until `remove`.

    Args:
        output: The final name.
        restart: Throw away what an earlier run left.

    Attributes:
        folder: Where the parts are.
        description: What the earlier run said about itself, or None if there is none.
        damaged: Part files that were found damaged, and removed; their rows are to be computed again.

    Raises:
        OutputError: Another process works on this output, or the folder cannot be written.
    """

    def __init__(self, output: Path, *, restart: bool = False) -> None:
        self.output = Path(os.path.realpath(output))
        self.folder = parts_path(self.output)
        self.damaged: list[Path] = []
        self._parts: list[Part] = []
        self._writers: list[PartWriter] = []
        self._describe: Callable[[], Mapping[str, Any]] | None = None
        with explained(self.output):
            self._lock = OutputLock(self.folder)
        try:
            with explained(self.output):
                if restart:
                    self.remove()
                self.folder.mkdir(exist_ok=True)
                for draft in self.folder.glob(f"*{DRAFT_SUFFIX}"):
                    draft.unlink()
                self.description = self._read_description()
                self.refresh(check=True)
        except BaseException:
            self.close()
            raise

    def describe(self, description: Callable[[], Mapping[str, Any]]) -> None:
        """Says what run this is, for a later start to compare itself with; it is asked for before the first part."""
        self._describe = description

    def note_description(self) -> None:
        """Writes down what run this is, if that has not been done."""
        if self._describe is None:
            return
        description, self._describe = self._describe(), None
        draft = self.folder / f"{DESCRIPTION}{DRAFT_SUFFIX}"
        with explained(self.folder), signals_waiting():
            with draft.open("w", encoding="utf-8") as file:
                json.dump(description, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.folder / DESCRIPTION)
            sync_folder(self.folder)

    def refresh(self, *, check: bool = False) -> None:
        """Looks for parts that were committed since; damaged ones are removed, for their rows to be computed again.

        Args:
            check: Read them whole. Those of this very run need not be read: they have a name, so they are complete.
        """
        known = {part.path for part in self._parts}
        for path in sorted(self.folder.glob("part-*.npz")):
            if path in known:
                continue
            try:
                self._parts.append(Part.open(path, check=check))
            except DAMAGE:
                path.unlink()
                self.damaged.append(path)

    def prepare_tokens(self, layout: TokenLayout, final: Path) -> None:
        """Makes a place for the numbers of single bases, or finds that of an earlier start, and checks it.

        Parts whose numbers are not there, or damaged, are removed.

        Args:
            layout: Where each record belongs, of all that are to be in the output.
            final: The final name.

        Raises:
            OutputError: The disk refuses.
        """
        draft = prepare_draft(self.folder, layout, self._parts, final)
        with explained(self.folder), closing(draft):
            for part in self._parts:
                if not has_tokens(part, draft):
                    part.path.unlink()
                    self.damaged.append(part.path)
        self._parts = [part for part in self._parts if part.path not in self.damaged]

    def writer(self, worker: int, *, about: Mapping[str, Any], interval: float, tokens: bool = False) -> PartWriter:
        """A writer of further parts; one for each worker of this process. With `tokens`, after `prepare_tokens`."""
        draft = open_draft(self.folder) if tokens else None
        first = self.note_description
        writer = PartWriter(self.folder, worker=worker, about=about, interval=interval, tokens=draft, first=first)
        self._writers.append(writer)
        return writer

    def finished_tokens(self, rows: Array) -> tuple[TokenData, Array]:
        """The numbers of all bases of the records of the output (their rows, ascending), and their checksums (m,).

        Raises:
            OutputError: The disk refuses.
        """
        return finished_draft(self.folder, self._parts, rows)

    def list(self) -> "list[Part | Waiting]":
        """The committed parts, as of the last `refresh`, and what waits to be."""
        return [*self._parts, *filter(None, (writer.waiting() for writer in self._writers))]

    def listen(self, listener: Callable[[Array, Mapping[Key, Array]], None]) -> None:
        """Has all rows told that writers of this process take from now on."""
        for writer in self._writers:
            writer.listener = listener

    def commit_if_due(self, *, following: float) -> None:
        """Commits what waits in writers of this process if it would wait too long with the next work.

        Args:
            following: Seconds that this will take.
        """
        for writer in self._writers:
            writer.commit_if_due(following=following)

    def done(self, rows: int) -> Array:
        """Which of so many rows are committed, as of the last `refresh`, (rows,) bool.

        A row may be there twice, when a worker lived longer than its run: the same numbers, so either will do.
        """
        done = np.zeros(rows, dtype=bool)
        for part in self._parts:
            done[part.rows] = True
        return done

    def remove(self) -> None:
        """Removes the folder and all parts: the output is complete, or they are not wanted."""
        self._parts = []
        for writer in self._writers:
            writer.discard()
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def close(self) -> None:
        """Commits what waits and gives the right to the output back; a folder without parts is removed.

        Safe to call twice.

        Raises:
            OutputError: The disk refuses what is to be committed.
        """
        with signals_waiting():
            try:
                with ExitStack() as writers:
                    while self._writers:
                        writers.enter_context(self._writers.pop())
            finally:
                with suppress(OSError):
                    if self.folder.is_dir() and not any(self.folder.glob("part-*.npz")):
                        self.remove()
                    self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_description(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.folder / DESCRIPTION).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OutputError(
                "what an earlier run said about itself cannot be read",
                where=str(self.folder / DESCRIPTION),
                fix="Add --restart to start over.",
            ) from error
        return found
