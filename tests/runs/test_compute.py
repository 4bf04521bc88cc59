"""Units of work: what a kill at any moment would lose, and what becomes of records that half precision cannot hold."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genoconv.embed import already_done, prepare, run
from genoconv.inputs.fasta import Records
from genoconv.inputs.tokens import VOCABULARY
from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.pretrained import save_checkpoint
from genoconv.outputs import part_files
from genoconv.outputs.inspection import read_info
from genoconv.outputs.part_files import PartWriter
from genoconv.outputs.reading import read_embedded
from genoconv.outputs.verification import verify
from genoconv.runs import compute
from genoconv.runs.job import EmbedSettings, Engine, Job
from genoconv.runs.transfers import Batch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read once, when Triton is imported

MODEL = Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"
INTERVAL = 60.0


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 1000), min_size=1, max_size=40),
    seconds_per_base=st.floats(1e-4, INTERVAL / 1000),
)
def test_a_kill_never_loses_more_than_one_interval_of_work(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    lengths: list[int],
    seconds_per_base: float,
) -> None:
    clock, begun, lost = Clock(), list[float](), list[float]()
    commit = PartWriter.commit

    def embed_batch(engine: Any, batch: Batch, parts: PartWriter) -> list[Any]:
        begun.append(clock.now)
        clock.now += batch.bases * seconds_per_base
        lost.append(clock.now - begun[0])  # to a kill just before these rows are taken
        parts.add(batch.rows, {("mean", 0): np.zeros((1, 1), np.float32)})
        return []

    def committing(parts: PartWriter) -> None:
        commit(parts)
        begun.clear()

    for module in (part_files, compute):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(compute, "embed_batch", embed_batch)
    monkeypatch.setattr(PartWriter, "commit", committing)
    folder: Path = tmp_path_factory.mktemp("parts")
    parts = PartWriter(folder, worker=0, about={}, interval=INTERVAL)
    engine: Any = SimpleNamespace(settings=SimpleNamespace(fail_fast=False))
    batches = [
        Batch(np.array([row]), Records(["r"], [bytes(length)]), [length], torch.empty(1, length), None)
        for row, length in enumerate(lengths)
    ]
    with parts:
        assert sum(done.rows for done in compute.work(engine, batches, parts)) == len(lengths)
    assert max(lost) <= INTERVAL + 1e-6
    assert begun == []
    # Nor is there a file for every record, where records are short.
    assert len(list(folder.iterdir())) <= 1 + 2 * sum(lengths) * seconds_per_base / INTERVAL


def embedded(model: Path, records: dict[str, str], output: Path, **changes: Any) -> tuple[Job, dict[str, Any]]:
    """The job, and its rows by id, computed by the kernels of a GPU (else in Triton's interpreter)."""
    fasta = output.with_suffix(".fa")
    fasta.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records.items()))
    job = prepare([fasta], EmbedSettings(model=str(model), threads=1, **changes))
    if job.settings.precision == "auto":
        job.engine.precision = "half"  # as on a GPU
    run(job, output)
    found = read_embedded(output)
    return job, dict(zip(found.ids, found.rows, strict=True))


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose first block leaves float16's range where a sequence holds N, and nowhere else."""
    torch.manual_seed(1)
    model = HyenaDNA(HyenaConfig(d_model=16, n_layer=2, d_inner=40, l_max=64)).eval()
    with torch.no_grad():
        model.embedding.weight.normal_()
        model.embedding.weight[:, 15] = model.embedding.weight[:, :15].mean(dim=1)  # 0 behind the norm
        model.embedding.weight[VOCABULARY["N"]] = torch.eye(16)[15]
        model.stack[0].operator.in_proj.weight[[16 + 5, 32 + 5], 15] = 6e3  # x1 and v of channel 5
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(model, folder)
    return folder


RECORDS = {"a": "ACGTACGGTC", "b": "ACGTNACGGTCA", "c": "TACGTACGGTC", "d": "NNNNCGT", "e": "GGACGTACGGTC"}
REASON = "float16 overflow in block 1: the convolution of channel 5"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
def test_what_overflows_is_computed_in_float32(overflowing: Path, tmp_path: Path) -> None:
    job, rows = embedded(overflowing, RECORDS, tmp_path / "auto.h5", poolings=("mean", "max"), tokens=True)
    assert list(rows) == list(RECORDS)
    assert job.failures == []
    assert job.recomputed == {1: REASON, 3: REASON}
    told = read_info(tmp_path / "auto.h5").provenance["recomputed"]
    assert told == [{"id": "b", "row": 1, "reason": REASON}, {"id": "d", "row": 3, "reason": REASON}]
    _, high = embedded(overflowing, RECORDS, tmp_path / "high.h5", precision="high", batch_bases=1)
    _, fitting = embedded(overflowing, {name: RECORDS[name] for name in "ace"}, tmp_path / "ace.h5")
    for name in "ace":
        assert np.array_equal(rows[name], fitting[name])
        assert 0 < np.abs(rows[name] - high[name]).max() < 1e-2
    for name in "bd":
        assert np.array_equal(rows[name], high[name])
    with h5py.File(tmp_path / "auto.tokens.h5") as file:
        for name, first, last in zip(RECORDS, file["offsets"][:-1], file["offsets"][1:], strict=True):
            assert np.allclose(file["data"][first:last].mean(0), rows[name], atol=1e-5)
    job.recomputed = {}
    again = already_done(job, tmp_path / "auto.h5", overwrite=False)
    assert again is not None
    assert job.recomputed == {1: REASON, 3: REASON}


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Batches are launched ahead as for a GPU; takes whether each of them was, and not left to be computed later."""
    true, found = compute.launch, list[bool]()

    def launch(engine: Engine, batch: Batch) -> compute.Launched | None:
        one = true(engine, batch)
        found.append(one is not None)
        return one

    monkeypatch.setattr(compute, "runs_ahead", lambda engine: True)
    monkeypatch.setattr(compute, "launch", launch)
    return found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("batch_bases", [1, 30, 1000])
def test_what_overflows_is_noticed_when_batches_are_launched_ahead(
    overflowing: Path, tmp_path: Path, launched: list[bool], monkeypatch: pytest.MonkeyPatch, batch_bases: int
) -> None:
    job, rows = embedded(
        overflowing, RECORDS, tmp_path / "ahead.h5", poolings=("mean", "site"), batch_bases=batch_bases
    )
    assert job.recomputed == {1: REASON, 3: REASON}
    assert launched
    assert all(launched)
    monkeypatch.setattr(compute, "runs_ahead", lambda engine: False)
    _, others = embedded(overflowing, RECORDS, tmp_path / "turns.h5", poolings=("mean", "site"))
    assert list(rows) == list(others) == list(RECORDS)
    assert all(np.array_equal(rows[name], others[name]) for name in RECORDS)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_does_not_fit_when_it_is_launched_is_computed_in_its_turn(
    overflowing: Path, tmp_path: Path, launched: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = {name: RECORDS[name] for name in "ace"}
    _, expected = embedded(overflowing, calm, tmp_path / "roomy.h5", batch_bases=1000)
    launched.clear()
    true = compute.pooled_rows

    def pooled_rows(engine: Engine, batch: Batch, *arguments: Any, **named: Any) -> Any:
        if len(batch.records) > 2:  # a GPU is warmed up with two
            raise MemoryError
        return true(engine, batch, *arguments, **named)

    monkeypatch.setattr(compute, "pooled_rows", pooled_rows)
    job, rows = embedded(overflowing, calm, tmp_path / "tight.h5", batch_bases=1000)
    assert launched == [False]
    assert job.failures == []
    assert job.engine.batch_bases < 36
    assert all(np.allclose(rows[name], expected[name], atol=1e-5) for name in calm)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_whether_a_record_overflows_is_not_its_neighbours_doing(overflowing: Path, tmp_path: Path) -> None:
    _, together = embedded(overflowing, RECORDS, tmp_path / "together.h5")
    job, single = embedded(overflowing, RECORDS, tmp_path / "single.h5", batch_bases=1)
    assert job.recomputed == {1: REASON, 3: REASON}
    for name in "bd":
        assert np.array_equal(together[name], single[name])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter is not asked for")
def test_workers_compute_in_float32_too(overflowing: Path, tmp_path: Path) -> None:
    _, here = embedded(overflowing, RECORDS, tmp_path / "one.h5", batch_bases=16)
    job, rows = embedded(overflowing, RECORDS, tmp_path / "two.h5", batch_bases=16, device="cpu,cpu")
    assert job.recomputed == {1: REASON, 3: REASON}
    assert all(np.array_equal(rows[name], here[name]) for name in RECORDS)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_half_precision_that_was_asked_for_fails_instead(overflowing: Path, tmp_path: Path) -> None:
    job, rows = embedded(overflowing, RECORDS, tmp_path / "half.h5", precision="half")
    assert list(rows) == ["a", "c", "e"]
    assert {failure.id for failure in job.failures} == {"b", "d"}
    assert all("block 1: the convolution of channel 5" in failure.reason for failure in job.failures)
    assert job.recomputed == {}


def test_a_base_that_no_file_can_hold_fails_its_record_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = compute.states

    def states(engine: Any, ids: torch.Tensor, *arguments: Any) -> Iterator[tuple[int, Any]]:
        for layer, hidden in true(engine, ids, *arguments):
            large = hidden.clone()
            large[ids == VOCABULARY["N"]] = 1e5
            yield layer, large

    monkeypatch.setattr(compute, "states", states)
    records = {"a": "ACGTACGGTC", "b": f"{'ACGT' * 1100}NACG", "c": "TACGTACGGTC", "d": "ACGTN", "e": "GGACGTACGGTC"}
    job, rows = embedded(MODEL, records, tmp_path / "f2.h5", tokens=True, dtype="f2", batch_bases=100, precision="high")
    assert list(rows) == ["a", "c", "e"]
    assert {failure.id: failure.where for failure in job.failures} == {
        "b": f"base 4401, layer {job.engine.layers[0]}",
        "d": f"base 5, layer {job.engine.layers[0]}",
    }
    assert all("float16 ends at 65504" in failure.reason for failure in job.failures)
    assert verify(tmp_path / "f2.h5") == []
    with h5py.File(tmp_path / "f2.tokens.h5") as file:
        assert list(file["id"].asstr()[:]) == ["a", "c", "e"]
        for name, first, last in zip("ace", file["offsets"][:-1], file["offsets"][1:], strict=True):
            assert np.allclose(file["data"][first:last].astype("f4").mean(0), rows[name], atol=1e-2)


def test_records_that_did_not_fit_are_written_as_they_were_computed_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.h5"
    embedded(MODEL, RECORDS, whole, tokens=True, precision="high")
    true, refused = compute.on_host, list[int]()

    def on_host(pooled: Any) -> Any:
        rows = len(next(iter(pooled.values())))
        if rows > 2:  # a GPU is warmed up with two
            refused.append(rows)
            raise MemoryError
        return true(pooled)

    monkeypatch.setattr(compute, "on_host", on_host)
    embedded(MODEL, RECORDS, tmp_path / "out.h5", tokens=True, precision="high")
    assert refused
    with h5py.File(tmp_path / "whole.tokens.h5") as one, h5py.File(tmp_path / "out.tokens.h5") as other:
        assert np.allclose(one["data"][:], other["data"][:], atol=1e-6)
    assert verify(tmp_path / "out.h5") == []
