"""Shards of a run, and what becomes of them: the same file as without shards, or an error that names what is wrong."""

import io
import os
import random
import resource
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import h5py
import numpy as np
import pytest

from genoconv.merge import joined_provenance
from genoconv.outputs.assembly import copy_matrices
from genoconv.outputs.hdf5 import structure_checksum

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["--model", str(ROOT / "tests" / "golden" / "tiny-d64"), "--threads", "1"]


class Finished(Protocol):
    """What the fixture `genoconv` returns."""

    code: int
    out: str
    err: str


Command = Callable[..., Finished]


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """Sixty records, one without a sequence."""
    letters = random.Random(9)
    path = tmp_path / "genes.fa"
    lengths = [letters.randint(1, 700) for _ in range(60)]
    lengths[17] = 0
    path.write_text("".join(f">r{index}\n{''.join(letters.choices('ACGT', k=k))}\n" for index, k in enumerate(lengths)))
    return path


def contents(path: Path) -> dict[str, Any]:
    """Every dataset of a file but the provenance."""
    found: dict[str, Any] = {}

    def note(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and "provenance" not in name:
            value = node[()]
            found[name] = value.tolist() if value.dtype == object else value.tobytes()

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def embed_shards(genoconv: Command, fasta: Path, out: Path, count: int, *options: str) -> list[Path]:
    made = []
    for index in range(1, count + 1):
        finished = genoconv("embed", fasta, "-o", out, *OPTIONS, "--shard", f"{index}/{count}", *options)
        assert finished.code == (3 if index == 1 else 0), finished.err  # the empty record is told once
        made.append(out.with_name(f"{out.stem}.shard-{index:03d}-of-{count:03d}.h5"))
        assert made[-1].exists()
    return made


@pytest.mark.parametrize("count", [2, 40])
def test_merged_shards_are_the_file_of_a_single_run(genoconv: Command, fasta: Path, tmp_path: Path, count: int) -> None:
    options = ["--tokens", "--pool", "mean", "--pool", "last", "--layer", "-1", "--layer", "1"] if count == 2 else []
    whole, out = tmp_path / "whole.h5", tmp_path / "out.h5"
    assert genoconv("embed", fasta, "-o", whole, *OPTIONS, *options).code == 3
    shards = embed_shards(genoconv, fasta, out, count, *options)
    merged = genoconv("merge", out, "--remove")
    assert merged.code == 3, merged.err
    assert contents(out) == contents(whole)
    if options:
        assert contents(tmp_path / "out.tokens.h5") == contents(tmp_path / "whole.tokens.h5")
    assert genoconv("verify", out).code == 0
    assert "r17" in (tmp_path / "out.failures.tsv").read_text()
    assert not any(path.exists() for path in shards)


def as_version_1_0(path: Path) -> None:
    """Make a per-nucleotide file one with its numbers in chunks, each with HDF5's own checksum."""
    with h5py.File(path, "r+") as file:
        values, attributes = file["data"][:], dict(file["data"].attrs)
        del file["data"], file["crc32"]
        file.create_dataset("data", data=values, chunks=(1024, 64), fletcher32=True).attrs.update(attributes)
        file.attrs["genoconv_format_version"] = "1.0"
        file.attrs["structure_sha256"] = structure_checksum(file)


def test_shards_whose_single_bases_an_older_version_wrote(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.h5", tmp_path / "out.h5"
    assert genoconv("embed", fasta, "-o", whole, *OPTIONS, "--tokens").code == 3
    for path in embed_shards(genoconv, fasta, out, 2, "--tokens"):
        as_version_1_0(path.with_suffix(".tokens.h5"))
        assert genoconv("verify", path).code == 0
    assert genoconv("merge", out).code == 3
    assert contents(tmp_path / "out.tokens.h5") == contents(tmp_path / "whole.tokens.h5")


def test_a_shard_whose_single_bases_are_damaged_is_named(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    _, second = embed_shards(genoconv, fasta, out, 2, "--tokens")
    path = second.with_suffix(".tokens.h5")
    with h5py.File(path) as file:
        middle = file["data"].id.get_offset() + file["data"].id.get_storage_size() // 2
    damaged = bytearray(path.read_bytes())
    damaged[middle] ^= 1
    path.write_bytes(damaged)
    refused = genoconv("merge", out)
    assert refused.code == 2
    assert "data is damaged in record" in refused.err
    assert str(second) in refused.err
    assert not out.exists()
    assert not (tmp_path / "out.tokens.h5").exists()


def test_what_shards_recomputed_is_told_of_the_whole() -> None:
    common = {"compute": [], "failures": [], "seconds": 1.0, "finished": "", "command": []}
    told = [[{"row": 1}], None, [{"row": 5}, {"row": 7}]]  # of the second by an older version
    shards: list[Any] = [
        SimpleNamespace(index=i, path=Path("x"), provenance=common | ({"recomputed": rows} if rows else {}))
        for i, rows in enumerate(told, start=1)
    ]
    joined = joined_provenance(shards[::-1], seconds=1.0)
    assert joined["recomputed"] == [{"row": 1}, {"row": 5}, {"row": 7}]


def test_a_shard_for_which_nothing_is_left(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    arguments = ("embed", fasta, "-o", tmp_path / "out.h5", *OPTIONS, "--shard", "40/40")
    foretold = genoconv(*arguments, "--dry-run")
    assert foretold.code == 0, foretold.err
    assert "rows            0" in foretold.out
    assert genoconv(*arguments).code == 0
    assert genoconv(*arguments).code == 0
    assert genoconv("verify", tmp_path / "out.shard-040-of-040.h5").code == 0


def test_shards_have_like_shares_of_the_bases(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    bases = []
    for path in embed_shards(genoconv, fasta, tmp_path / "out.h5", 3):
        with h5py.File(path) as file:
            bases.append(int(file["obs/length"][:].sum()))
    assert max(bases) < 1.3 * np.mean(bases)


def test_what_is_missing_or_foreign_is_named(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    assert "no shards" in genoconv("merge", out).err
    shards = embed_shards(genoconv, fasta, out, 3)
    kept = shards[1].read_bytes()
    shards[1].unlink()
    missing = genoconv("merge", out)
    assert missing.code == 2
    assert "1 of 3 shards are missing: 2 (out.shard-002-of-003.h5)" in missing.err
    assert "--shard 2/3" in missing.err
    with h5py.File(io.BytesIO(kept)) as file:
        absent = [*zip(file["obs/_index"].asstr()[:], file["obs/row"][:].tolist(), strict=True)]
    assert f"{len(absent)} of 59 records are missing: {absent[0][0]}, {absent[1][0]}, " in missing.err
    assert f"{absent[9][0]} and {len(absent) - 10} more" in missing.err
    table = tmp_path / "out.missing.tsv"
    assert str(table) in missing.err
    assert table.read_text().splitlines() == ["id\trecord", *(f"{name}\t{row + 1}" for name, row in absent)]
    assert genoconv("embed", fasta, "-o", out, *OPTIONS, "--shard", "2/3", "--pool", "max").code == 0
    assert "poolings" in genoconv("merge", out).err
    shards[1].write_bytes(kept[:-1000])
    damaged = genoconv("merge", out)
    assert damaged.code == 2
    assert shards[1].name in damaged.err
    shards[1].write_bytes(kept)
    assert "twice" in genoconv("merge", out, *shards, shards[0]).err
    assert not out.exists()
    assert genoconv("merge", out, *reversed(shards)).code == 3
    assert not table.exists()
    assert genoconv("merge", out).code == 4
    assert genoconv("merge", out, "--force").code == 3


def test_what_is_missing_is_counted_when_the_input_is_gone_or_another(
    genoconv: Command, fasta: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.h5"
    embed_shards(genoconv, fasta, out, 2)[1].unlink()
    with h5py.File(tmp_path / "out.shard-001-of-002.h5") as file:
        left = 59 - file["X"].shape[0]
    text = fasta.read_text()
    for change in (lambda: fasta.write_text(text.replace("A", "C", 1)), fasta.unlink):
        change()
        missing = genoconv("merge", out)
        assert missing.code == 2
        assert f"up to {left} records are missing; their ids are not known, for the input is" in missing.err
        assert not (tmp_path / "out.missing.tsv").exists()


def test_missing_regions_are_named_and_shards_that_are_unfinished(
    genoconv: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ecoli_20kb.fa", "ecoli_20kb.gff3"):
        (tmp_path / name).write_bytes((data / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    options = ["ecoli_20kb.fa", "--regions", "ecoli_20kb.gff3", "-o", "out.h5", *OPTIONS]
    assert genoconv("embed", *options, "-o", "whole.h5").code == 0
    with h5py.File("whole.h5") as file:
        names = list(file["obs/_index"].asstr()[:])
    assert genoconv("embed", *options, "--shard", "1/2").code == 0
    with h5py.File("out.shard-001-of-002.h5") as file:
        mine = list(file["obs/_index"].asstr()[:])
    Path("out.shard-002-of-002.h5.parts").mkdir()
    missing = genoconv("merge", "out.h5")
    assert "2 (out.shard-002-of-002.h5, unfinished)" in missing.err
    rest = [name for name in names if name not in mine]
    assert rest
    assert [line.split("\t")[0] for line in Path("out.missing.tsv").read_text().splitlines()[1:]] == rest


def test_more_shards_than_files_may_be_open(
    genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_shards(genoconv, fasta, tmp_path / "out.h5", 40)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(list(Path("/proc/self/fd").iterdir())) + 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    try:
        with monkeypatch.context() as patch:
            patch.setattr("genoconv.merge.all_open_files", nullcontext)
            refused = genoconv("merge", tmp_path / "out.h5")
        assert refused.code == 4
        assert "ulimit -n" in refused.err
        assert genoconv("merge", tmp_path / "out.h5").code == 3
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (few, limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_shards_whose_records_all_failed_make_an_empty_whole(
    genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genoconv.outputs import pooling

    monkeypatch.setattr("genoconv.runs.compute.pool_states", lambda *arguments: pooling.pool(*arguments) * float("nan"))
    whole, out = tmp_path / "whole.h5", tmp_path / "out.h5"
    assert genoconv("embed", fasta, "-o", whole, *OPTIONS).code == 3
    for shard in ("1/2", "2/2"):
        assert genoconv("embed", fasta, "-o", out, *OPTIONS, "--shard", shard).code == 3
    merged = genoconv("merge", out)
    assert merged.code == 3, merged.err
    assert "60 records failed" in merged.err
    assert contents(out) == contents(whole)
    assert genoconv("verify", out).code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_a_signal_ends_a_merge_and_leaves_the_shards(
    genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out.h5"
    shards = embed_shards(genoconv, fasta, out, 2)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def copy(*arguments: Any) -> None:
        os.kill(os.getpid(), number)
        copy_matrices(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("genoconv.merge.copy_matrices", copy)
        ended = genoconv("merge", out, "--remove")
    assert ended.code == code
    assert f"interrupted by {number.name}" in ended.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert genoconv("merge", out, "--remove").code == 3
    assert not any(path.exists() for path in shards)


def test_a_whole_file_is_no_shard(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    assert genoconv("embed", fasta, "-o", tmp_path / "whole.h5", *OPTIONS).code == 3
    refused = genoconv("merge", tmp_path / "out.h5", tmp_path / "whole.h5")
    assert refused.code == 2
    assert "not a shard" in refused.err


def test_the_batch_system_says_which_shard(
    genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("embed", fasta, "-o", tmp_path / "out.h5", *OPTIONS, "--shard", "auto")
    assert genoconv(*arguments).code == 2
    for name, value in (
        ("TASK_ID", "7"),
        ("TASK_COUNT", "3"),
        ("TASK_MIN", "1"),
        ("TASK_MAX", "7"),
        ("TASK_STEP", "3"),
    ):
        monkeypatch.setenv(f"SLURM_ARRAY_{name}", value)
    finished = genoconv(*arguments)
    assert finished.code == 0, finished.err
    assert "shard 3/3 of the input (told by the Slurm array)" in finished.err
    assert "note" not in finished.err
    undivided = genoconv(*arguments[:-2])
    assert undivided.code == 3
    assert (
        "one of several processes of a Slurm array, and this one embeds its whole input; --shard auto" in undivided.err
    )
    assert (tmp_path / "out.shard-003-of-003.h5").exists()
