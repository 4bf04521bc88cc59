"""Compression by content, damaged files, pipes, and names that lead nowhere."""

import gzip
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from Bio.bgzf import BgzfBlocks, BgzfWriter

from genoconv.errors import InputError
from genoconv.inputs import sources
from genoconv.inputs.sources import Source

CONTENT = b">a\n" + b"ACGTTGCA" * 50_000 + b"\n"


def content_of(source: Source) -> bytes:
    with source.open() as stream:
        return stream.read()


def write_bgzip(path: Path, content: bytes) -> None:
    writer: Any = BgzfWriter  # Biopython carries no types
    with writer(str(path)) as stream:
        stream.write(content)


@pytest.mark.parametrize("name", ["x.fa", "x.fa.gz"])
def test_compression_is_told_by_content(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(CONTENT)
    assert (Source.of(path).compression, content_of(Source.of(path))) == ("none", CONTENT)
    path.write_bytes(gzip.compress(CONTENT))
    assert (Source.of(path).compression, content_of(Source.of(path))) == ("gzip", CONTENT)
    path.write_bytes(gzip.compress(CONTENT) + gzip.compress(CONTENT))
    assert content_of(Source.of(path)) == CONTENT + CONTENT
    write_bgzip(path, CONTENT)
    assert (Source.of(path).compression, content_of(Source.of(path))) == ("bgzip", CONTENT)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
def test_truncated_gzip(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "x.fa.gz"
    compressed = gzip.compress(os.urandom(50_000))
    path.write_bytes(compressed[: int(len(compressed) * kept)])
    with pytest.raises(InputError, match="truncated") as caught:
        content_of(Source.of(path))
    assert caught.value.where == str(path)


def test_bgzip_cut_between_blocks_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.fa.gz"
    write_bgzip(path, CONTENT)
    blocks: Any = BgzfBlocks
    with path.open("rb") as stream:
        second_block = next(blocks(stream))[1]
    path.write_bytes(path.read_bytes()[:second_block])
    # To gzip this is a whole file.
    assert CONTENT.startswith(gzip.decompress(path.read_bytes()))
    with pytest.raises(InputError, match="truncated") as caught:
        Source.of(path)
    assert caught.value.where == str(path)


def test_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.fa.gz"
    compressed = bytearray(gzip.compress(os.urandom(50_000)))
    compressed[-8] ^= 1  # the checksum
    path.write_bytes(compressed)
    with pytest.raises(InputError, match="damaged: CRC check failed") as caught:
        content_of(Source.of(path))
    assert caught.value.where == str(path)
    path.write_bytes(gzip.compress(CONTENT) + b"garbage")
    with pytest.raises(InputError, match="damaged"):
        content_of(Source.of(path))


@pytest.mark.parametrize(
    ("magic", "words"), [(b"BZh9", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\3\4", "zip")]
)
def test_other_compression_is_named(tmp_path: Path, magic: bytes, words: str) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(magic + b"....................")
    with pytest.raises(InputError, match=words) as caught:
        Source.of(path)
    assert str(path) in caught.value.fix


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file") as caught:
        Source.of(tmp_path / "none.fa")
    assert caught.value.where == str(tmp_path / "none.fa")
    with pytest.raises(InputError, match="folder"):
        Source.of(tmp_path)


def test_sha256_is_of_the_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "x.fa.gz"
    path.write_bytes(gzip.compress(CONTENT))
    assert Source.of(path).sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_pipe_can_be_read_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(CONTENT),))
    writer.start()
    source = Source.of(pipe)
    writer.join()
    assert (source.name, source.compression) == (str(pipe), "gzip")
    assert content_of(source) == content_of(Source.of(pipe)) == CONTENT


def test_standard_input_is_spooled_and_the_spool_removed(tmp_path: Path) -> None:
    program = (
        "from genoconv.inputs.sources import Source\n"
        "source = Source.of('-')\n"
        "for _ in range(2):\n"
        "    with source.open() as stream: print(len(stream.read()))\n"
        "print(source.path)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(sources.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program], input=gzip.compress(CONTENT), capture_output=True, env=environment, check=True
    )
    first, second, path = done.stdout.decode().split()
    assert int(first) == int(second) == len(CONTENT)
    assert Path(path).is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []
