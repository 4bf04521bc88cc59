"""From the name of an input, as the user gave it, to decompressed bytes that can be read twice (pipes are spooled)."""

import atexit
import gzip
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal, cast

from genoconv.errors import EnvironmentProblem, InputError

Compression = Literal["none", "gzip", "bgzip"]

_BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_FOREIGN = {
    b"BZh": ("compressed with bzip2", "bzip2 -dc"),
    b"\xfd7zXZ": ("compressed with xz", "xz -dc"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "zstd -dc"),
    b"PK\x03\x04": ("a zip archive", "unzip -p"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """One input file; holds no open file, so that it can be sent to another process.

    Attributes:
        name: As the user named it; "-" is standard input.
        path: A regular file that holds its bytes: the file itself, or the spooled copy of a pipe.
        compression: Told by the first bytes, not by the name.
    """

    name: str
    path: Path
    compression: Compression

    @classmethod
    def of(cls, named: "str | Path | Source") -> "Source":
        """Find a source.

        Args:
            named: A path, or "-" for standard input. Pipes (`<(zcat x.gz)`) work like standard input.

        Raises:
            InputError: There is no such file, it cannot be read, or it is compressed with something else than gzip.
        """
        if isinstance(named, Source):
            return named
        name = str(named)
        try:
            path = _regular_file(name)
            return cls(name, path, _compression(name, path))
        except OSError as error:
            raise InputError(f"the input cannot be read: {error.strerror or error}", where=name) from error

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the decompressed bytes for one pass.

        Raises:
            InputError: Raised out of the `with` block when the file turns out damaged, truncated or unreadable.
        """
        try:
            if self.compression == "none":
                with self.path.open("rb", buffering=1 << 20) as stream:
                    yield stream
            else:
                with gzip.open(self.path, "rb") as stream:
                    yield cast(BinaryIO, stream)
        except EOFError as error:
            raise InputError(
                "the gzip file is truncated: it ends in the middle of the data",
                where=self.name,
                fix="copy or download it again",
            ) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"the gzip file is damaged: {error}",
                where=self.name,
                fix="copy or download it again (gzip -t tests it)",
            ) from error
        except OSError as error:
            raise InputError(f"the input cannot be read: {error.strerror or error}", where=self.name) from error

    def sha256(self, abandoned: threading.Event | None = None) -> str:
        """Return the sha256 of the bytes on disk (of a pipe: of the bytes that came through it), as hex digits.

        Args:
            abandoned: Set when nobody waits for the answer any more; it is then of a part of the file.
        """
        digest = hashlib.sha256()
        try:
            with self.path.open("rb", buffering=0) as stream:
                while (block := stream.read(1 << 20)) and not (abandoned and abandoned.is_set()):
                    digest.update(block)
            return digest.hexdigest()
        except OSError as error:
            raise InputError(f"the input cannot be read: {error.strerror or error}", where=self.name) from error


def _regular_file(name: str) -> Path:
    if name == "-":
        return _spool(name)
    mode = Path(name).stat().st_mode
    if stat.S_ISDIR(mode):
        raise InputError("a file was expected, this is a folder", where=name, fix=f"name the files: {name}/*.fa")
    return Path(name) if stat.S_ISREG(mode) else _spool(name)


@cache
def scratch_folder() -> Path:
    """A private temporary folder of this process, removed when it ends."""
    folder = tempfile.mkdtemp(prefix="genoconv-")
    atexit.register(_remove, folder, os.getpid())
    return Path(folder)


def _remove(folder: str, owner: int) -> None:
    # A forked child inherits the registration, but the folder is its parent's.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _spool(name: str) -> Path:
    """Copy standard input or a pipe to a temporary file; once per name, for it cannot be read again."""
    path = scratch_folder() / f"spool-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    try:
        with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as pipe, path.open("wb") as spool:
            shutil.copyfileobj(pipe, spool, 1 << 20)
    except OSError as error:
        raise EnvironmentProblem(
            f"the piped input cannot be kept in a temporary file: {error.strerror or error}",
            where=str(path),
            fix="set TMPDIR to a folder with enough room, or give the input as a file",
        ) from error
    return path


def _compression(name: str, path: Path) -> Compression:
    with path.open("rb") as stream:
        start = stream.read(18)
        for magic, (what, command) in _FOREIGN.items():
            if start.startswith(magic):
                shown = "FILE" if name == "-" else name
                raise InputError(
                    f"the input is {what}; only plain, gzip and bgzip files are read",
                    where=name,
                    fix=f"decompress it on the way: {command} {shown} | genoconv ... -",
                )
        if not start.startswith(b"\x1f\x8b"):
            return "none"
        if not (start[3] & 4 and start[12:14] == b"BC"):
            return "gzip"
        stream.seek(-min(len(_BGZIP_END), path.stat().st_size), 2)
        if stream.read() != _BGZIP_END:
            raise InputError(
                "the bgzip file is truncated: its end marker is missing", where=name, fix="copy or download it again"
            )
        return "bgzip"
