"""Bytes on their way to the disk: large files are sent there while they are written, and what fails is told."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from genoconv.errors import OutputError
from genoconv.outputs import sink
from genoconv.outputs.part_files import Part, PartWriter
from genoconv.outputs.sink import Sink


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "FLUSH_BYTES", 1000)


def refuse(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_large_file_is_sent_before_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, fsync = list[int](), os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: sent.append(fsync(handle) or os.fstat(handle).st_size))
    file, content = Sink(tmp_path / "x"), os.urandom(7000)
    for start in range(0, len(content), 500):
        file.write(memoryview(content)[start : start + 500])
    file.close()
    assert file.failure is None
    assert sent
    assert (tmp_path / "x").read_bytes() == content


def test_what_the_disk_refuses_meanwhile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse)
    file = Sink(tmp_path / "x")
    file.write(memoryview(bytes(1000)))
    with pytest.raises(OSError, match="No space"):
        file.sync()
    file.close()


def test_a_small_file_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse)
    file = Sink(tmp_path / "x")
    file.write(memoryview(bytes(999)))
    file.close()
    assert file.failure is None


def test_parts_are_sent_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)

    def add(writer: PartWriter) -> None:
        writer.add_tokens(0, 100, iter(np.split(values, 10)))
        writer.add(np.array([0]), {("mean", 1): values[:1]})
        writer.commit()

    writer = PartWriter(tmp_path, worker=0, about={}, interval=60)
    add(writer)
    (path,) = tmp_path.glob("*.npz")
    assert np.array_equal(Part.open(path).tokens(0, 0, 100), values)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match="disk is full"):
        add(writer)
    assert list(tmp_path.iterdir()) == [path]
