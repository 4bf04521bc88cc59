"""The output file that is begun while the last rows are computed: the same file, or none."""

import signal
from pathlib import Path
from typing import Any

import h5py
import pytest

from genoconv.embed import prepare, run
from genoconv.errors import Interrupted, OutputError
from genoconv.outputs.hdf5 import structure
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.verification import verify
from genoconv.runs import assembly, compute
from genoconv.runs.assembly import Assembly
from genoconv.runs.job import EmbedSettings, Failure, Job

MODEL = Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    fasta = tmp_path / "few.fa"
    fasta.write_text("".join(f">r{number}\n{'ACGTTGCAN' * (1 + number)}\n" for number in range(9)))
    return prepare([fasta], EmbedSettings(model=str(MODEL), device="cpu", threads=1, batch_bases=50))


def contents(path: Path) -> tuple[Any, ...]:
    """All of a file but what the provenance says of times."""
    with h5py.File(path) as file:
        lines = {name: line for name, line in structure(file).items() if name not in ("/", "uns/provenance")}
        return lines, file["X"][:].tolist(), file["obs/_index"][:].tolist(), file["obs/sha256"][:].tolist()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each file that is laid out."""
    true, found = assembly._open_store, list[int]()

    def open_store(job: Job, rows: Any, *arguments: Any) -> Any:
        found.append(len(rows))
        return true(job, rows, *arguments)

    monkeypatch.setattr(assembly, "_open_store", open_store)
    return found


def test_a_file_that_was_begun_is_the_file(
    job: Job, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job, tmp_path / "begun.h5")
    monkeypatch.setattr(Assembly, "begin", lambda assembly: None)
    run(job, tmp_path / "at_the_end.h5")
    assert opened == [9, 9]
    assert contents(tmp_path / "begun.h5") == contents(tmp_path / "at_the_end.h5")
    assert verify(tmp_path / "begun.h5") == []


def test_records_that_fail_later_are_not_in_it(
    job: Job, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    true = compute.embed_batch

    def embed_batch(engine: Any, batch: Any, parts: Any) -> list[Failure]:
        if 0 not in batch.rows:
            return true(engine, batch, parts)
        return [Failure(record.id, "", "it is made to fail", row) for row, record in enumerate(batch.records)]

    monkeypatch.setattr(compute, "embed_batch", embed_batch)
    summary = run(job, tmp_path / "begun.h5")
    failed = len(summary.failures)
    assert failed >= 1
    assert summary.records == 9 - failed
    job.failures = []
    monkeypatch.setattr(Assembly, "begin", lambda assembly: None)
    run(job, tmp_path / "at_the_end.h5")
    assert opened == [9, 9 - failed, 9 - failed]
    assert contents(tmp_path / "begun.h5") == contents(tmp_path / "at_the_end.h5")
    assert verify(tmp_path / "begun.h5") == []
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".fa", ".h5", ".h5"]


def test_what_goes_wrong_with_it_is_told_at_the_end(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = list[Path]()

    def open_store(job: Job, rows: Any, output: Path, overwrite: bool) -> Any:
        tries.append(output)
        raise OutputError(f"try {len(tries)}")

    monkeypatch.setattr(assembly, "_open_store", open_store)
    with pytest.raises(OutputError, match="try 2"):
        run(job, tmp_path / "out.h5")


def test_nothing_is_left_of_it_when_the_run_is_stopped_and_its_rows_are_kept(
    job: Job, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any, **named: Any) -> None:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(assembly, "provenance", stop)
    with pytest.raises(Interrupted):
        run(job, tmp_path / "out.h5")
    assert opened == [9]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.fa", "out.h5.parts"]
    assert sorted(path.name[:5] for path in (tmp_path / "out.h5.parts").iterdir()) == ["part-", "run.j"]
    monkeypatch.undo()
    summary = run(job, tmp_path / "out.h5")
    assert (summary.records, summary.resumed) == (9, 9)
    assert contents(tmp_path / "out.h5")[2] == [f"r{number}".encode() for number in range(9)]


def test_rows_go_from_memory_to_the_file_and_no_part_is_written(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, copied = list[str](), list[object]()
    true = Path.replace

    def replace(path: Path, to: Path) -> Path:
        named.append(to.name)
        return true(path, to)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(assembly, "copy_matrices", lambda *arguments: copied.append(arguments))
    summary = run(job, tmp_path / "out.h5")
    assert (summary.records, named, copied) == (9, ["out.h5"], [])
    assert verify(tmp_path / "out.h5") == []


@pytest.mark.parametrize("due", [False, True])
def test_what_waits_is_committed_first_where_assembling_takes_long(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, due: bool
) -> None:
    monkeypatch.setattr(assembly, "BYTES_PER_SECOND", 1.0 if due else 1e8)
    found = list[int]()
    true = Assembly.complete

    def complete(assembled: Assembly, *, start: float) -> Any:
        found.append(len(list((tmp_path / "out.h5.parts").glob("part-*.npz"))))
        return true(assembled, start=start)

    monkeypatch.setattr(Assembly, "complete", complete)
    assert run(job, tmp_path / "out.h5").records == 9
    assert found == [int(due)]
    assert verify(tmp_path / "out.h5") == []


@pytest.mark.parametrize("waiting", [0, 1 << 20])
def test_rows_of_an_earlier_start_and_rows_that_come_are_in_it(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    run(job, tmp_path / "whole.h5")
    true, turns = compute.finish, list[int]()

    def finish(*arguments: Any) -> Any:
        turns.append(1)
        if len(turns) == 3:
            raise Interrupted(signal.SIGTERM)
        return true(*arguments)

    monkeypatch.setattr(compute, "finish", finish)
    with pytest.raises(Interrupted):
        run(job, tmp_path / "out.h5")
    monkeypatch.setattr(compute, "finish", true)
    monkeypatch.setattr(assembly, "WAITING_BYTES", waiting)  # whether rows are written as they come
    summary = run(job, tmp_path / "out.h5")
    assert 0 < summary.resumed < summary.records == 9
    assert contents(tmp_path / "out.h5") == contents(tmp_path / "whole.h5")
    assert verify(tmp_path / "out.h5") == []


def test_a_file_that_could_not_be_written_on_the_way_is_written_at_the_end(
    job: Job, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    true, fails = EmbeddingWriter.write, [True, False]

    def write(store: EmbeddingWriter, *arguments: Any) -> None:
        if fails.pop() if fails else False:
            raise OutputError("the disk refused once")
        true(store, *arguments)

    monkeypatch.setattr(EmbeddingWriter, "write", write)
    assert run(job, tmp_path / "out.h5").records == 9
    assert opened == [9, 9]
    assert verify(tmp_path / "out.h5") == []
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".fa", ".h5"]
