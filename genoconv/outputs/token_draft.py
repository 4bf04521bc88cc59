"""The numbers of single bases of an unfinished run: one file beside its parts, which say what of it is done."""

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from genoconv.errors import OutputError
from genoconv.outputs import hdf5
from genoconv.outputs.atomic import explained, sync_folder
from genoconv.outputs.formats import TOKENS
from genoconv.outputs.hdf5 import Array
from genoconv.outputs.part_files import DAMAGE, DRAFT_SUFFIX, Part
from genoconv.outputs.patience import signals_waiting
from genoconv.outputs.token_data import COPIED_BYTES, TokenData
from genoconv.outputs.token_layout import CHECKED_ROWS, TokenLayout
from genoconv.outputs.tokens import CHECKS, layout_of, token_layout

LAYOUT_SUFFIX = ".npz"
DATA_SUFFIX = ".raw"


def open_draft(folder: Path) -> TokenData:
    """The numbers in a folder of parts, for one more process to write.

    Raises:
        OutputError: They are not there.
    """
    with explained(folder):
        found = _found(folder)
        if not found:
            raise FileNotFoundError(errno.ENOENT, "the numbers of single bases are gone", str(folder))
        return TokenData(*found[0])


def prepare_draft(folder: Path, layout: TokenLayout, done: Sequence[Part], final: Path) -> TokenData:
    """The numbers that an earlier start left, moved to where they belong now; a new file if there are none.

    Args:
        folder: Of the parts.
        layout: Where everything belongs now.
        done: The parts, which say what is to be kept.
        final: The final name: the file has it already if the run was killed just before its very end.

    Raises:
        OutputError: The disk refuses.
    """
    with explained(folder), signals_waiting():
        found = _found(folder)
        if not found and done and (published := _published(final, done)) is not None:
            _name(folder, published, final)
            found = _found(folder)
        for path, held in found:
            if held.key == layout.key:
                _remove([path for path, _ in found if held.key not in path.name])
                return TokenData(path, layout)
        rows = np.unique(np.concatenate([np.empty(0, np.int64), *(part.rows for part in done)]))
        return rearranged(TokenData(*found[0]), layout, rows) if found else _created(folder, layout)


def rearranged(data: TokenData, layout: TokenLayout, rows: Array) -> TokenData:
    """Copies some rows to where they lie in another layout; the file takes the place of the one before.

    Args:
        data: The draft; closed.
        layout: The other layout.
        rows: What is to be copied, of the rows that both of them know.

    Raises:
        OutputError: The disk refuses, or has no room for both.
    """
    folder, both = data.path.parent, np.intersect1d(np.intersect1d(rows, data.layout.rows), layout.rows)
    with explained(folder), signals_waiting():
        here, there = data.layout.places(both).tolist(), layout.places(both).tolist()
        needed = int(layout.lengths[there].sum()) * layout.row_bytes
        if needed > (free := shutil.disk_usage(folder).free):
            raise OutputError(
                f"records are left out, so the others are copied, which needs {needed / 1e9:,.2f} GB; "
                f"{free / 1e9:,.2f} GB are free",
                where=str(folder),
                fix="Free some space, and start the same command again.",
            )
        path = folder / f"tokens-{layout.key}{DATA_SUFFIX}{DRAFT_SUFFIX}"
        path.unlink(missing_ok=True)
        copy = TokenData(path, layout, create=True)
        step = max(1, COPIED_BYTES // (CHECKED_ROWS * layout.row_bytes)) * CHECKED_ROWS
        for place, target, length in zip(here, there, layout.lengths[there].tolist(), strict=True):
            for start in range(0, length, step):
                copy.write(target, start, data.read(place, start, min(length, start + step)))
        copy.sync()
        copy.close()
        data.close()
        _name(folder, layout, path)
        _remove([data.path])
        return TokenData(_path(folder, layout), layout)


def has_tokens(part: Part, data: TokenData) -> bool:
    """Whether the numbers of all bases of a part's records are there, as they were when it was committed."""
    layout = data.layout
    try:
        expected, places = part.token_checksums(), layout.places(part.rows)
        ends = np.cumsum(np.diff(layout.checks)[places])
        split = np.split(expected, ends[:-1])
        return len(expected) == ends[-1] and all(map(data.is_sound, places.tolist(), split))
    except DAMAGE:
        return False


def finished_draft(folder: Path, parts: Sequence[Part], rows: Array) -> tuple[TokenData, Array]:
    """The numbers of all bases of some records and of no others, and their checksums (m,).

    Args:
        folder: Of the parts.
        parts: Together they hold each of `rows`.
        rows: What the output has, ascending, (n,).

    Raises:
        OutputError: The disk refuses.
    """
    data = open_draft(folder)
    held = data.layout
    if not np.array_equal(held.rows, rows):
        layout = token_layout(rows, held.lengths[held.places(rows)], held.width, held.dtype)
        data = rearranged(data, layout, rows)
    checks = np.zeros(data.layout.checks[-1], dtype=np.uint32)
    for part in parts:
        checks[data.layout.stretches(part.rows)] = part.token_checksums()
    return data, checks


def _created(folder: Path, layout: TokenLayout) -> TokenData:
    path = folder / f"tokens-{layout.key}{DATA_SUFFIX}{DRAFT_SUFFIX}"
    data = TokenData(path, layout, create=True)
    data.sync()
    data.close()
    _name(folder, layout, path)
    return TokenData(_path(folder, layout), layout)


def _name(folder: Path, layout: TokenLayout, path: Path) -> None:
    """Gives a complete file its name in the folder, beside its layout."""
    about = _path(folder, layout).with_suffix(LAYOUT_SUFFIX)
    about.unlink(missing_ok=True)
    layout.save(about)
    with about.open("rb") as file:
        os.fsync(file.fileno())
    path.replace(_path(folder, layout))
    sync_folder(folder)


def _path(folder: Path, layout: TokenLayout) -> Path:
    return folder / f"tokens-{layout.key}{DATA_SUFFIX}"


def _found(folder: Path) -> list[tuple[Path, TokenLayout]]:
    """Files of numbers, with their layouts: one as a rule, none if a layout cannot be read."""
    found = []
    for path in sorted(folder.glob(f"tokens-*{DATA_SUFFIX}")):
        with suppress(*DAMAGE):
            found.append((path, TokenLayout.load(path.with_suffix(LAYOUT_SUFFIX))))
    return found


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
        path.with_suffix(LAYOUT_SUFFIX).unlink(missing_ok=True)


def _published(final: Path, done: Sequence[Part]) -> TokenLayout | None:
    """The layout of a finished file, if it is made of just these parts."""
    rows = np.unique(np.concatenate([part.rows for part in done]))
    try:
        with hdf5.open_read(final) as file:
            if file.attrs.get("genoconv_format") != TOKENS.name or not file.attrs.get("complete"):
                return None
            held = layout_of(file)
            if held is None or len(held.rows) != len(rows):
                return None
            layout = TokenLayout(rows, held.lengths, held.width, held.dtype, held.first_byte)
            checks = file[CHECKS][:]
            same = (np.array_equal(checks[layout.stretches(part.rows)], part.token_checksums()) for part in done)
            return layout if all(same) else None
    except DAMAGE:
        return None
