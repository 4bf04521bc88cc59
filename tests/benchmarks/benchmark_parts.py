"""What safety costs: commits and assembly of 100,000 short records, memory meanwhile, and the merge of 64 shards.

python tests/benchmarks/benchmark_parts.py > tests/benchmarks/results/parts.csv
"""

import os
import platform
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genoconv import embed, merge
from genoconv.outputs.formats import ROW_COLUMN
from genoconv.outputs.hdf5 import Categorical
from genoconv.outputs.part_files import PartWriter
from genoconv.outputs.store import EmbeddingWriter
from genoconv.outputs.verification import verify
from genoconv.runs.assembly import Assembly
from genoconv.runs.job import EmbedSettings
from genoconv.runs.shards import Shard, shard_path

MODEL = Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"
RECORDS, SHARDS, ROWS_OF_SHARD, WIDTH = 100_000, 64, 8_000, 256


class Timer:
    """Adds up the time spent in a function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def peak_mib() -> float:
    """The most memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def commits(work: Path) -> None:
    """Embed many short records and see what part of the time is not computing."""
    letters = random.Random(1)
    fasta = work / "short.fa"
    with fasta.open("w") as file:
        for number in range(RECORDS):
            file.write(f">r{number}\n{''.join(letters.choices('ACGT', k=letters.randint(20, 60)))}\n")
    committing, assembling = Timer(), Timer()
    for name in ("add", "commit"):
        setattr(PartWriter, name, committing.around(getattr(PartWriter, name)))
    Assembly.complete = assembling.around(Assembly.complete)  # type: ignore[method-assign]
    job = embed.prepare([fasta], EmbedSettings(model=str(MODEL), threads=1, commit_every=10))
    memory: list[float] = []
    summary = embed.run(job, work / "out.h5", advance=lambda bases: memory.append(peak_mib()))
    assert verify(work / "out.h5") == []
    overhead = committing.seconds / summary.seconds
    report("records", RECORDS, "")
    report("seconds", summary.seconds, "commit interval 10 s")
    report("commit_overhead", overhead, "share of the run in commits")
    report("assembly_share", assembling.seconds / summary.seconds, "final file; verified")
    report("peak_mib_at_a_tenth", memory[len(memory) // 10], "of the process")
    report("peak_mib_at_the_end_of_computing", memory[-1], "of the process")


def merging(work: Path) -> None:
    """Merge synthetic shards, whose rows lie scattered over the whole."""
    total = SHARDS * ROWS_OF_SHARD
    order = np.random.default_rng(0).permutation(total).reshape(SHARDS, ROWS_OF_SHARD)
    settings = {"poolings": ["mean"], "layers_counted_from_0": [1], "dtype": "f4", "tokens": False}
    paths = []
    for index in range(1, SHARDS + 1):
        rows = np.sort(order[index - 1])
        values = np.repeat(rows[:, None], WIDTH, axis=1).astype(np.float32)
        paths.append(shard_path(work / "whole.h5", Shard(index, SHARDS)))
        obs: dict[str, Any] = {
            **dict.fromkeys(("length", "start", "end", ROW_COLUMN), rows),
            "strand": Categorical(["+"] * len(rows), categories=("+", "-")),
            "n_fraction": rows / total,
            **dict.fromkeys(("truncated", "longer_than_trained"), rows < 0),
            "sha256": [f"{row:064x}" for row in rows.tolist()],
            "source": Categorical(["genes.fa.gz"] * len(rows), categories=("genes.fa.gz",)),
        }
        ids = [f"r{row}" for row in rows]
        provenance = {
            "settings": settings,
            "shard": {"index": index, "count": SHARDS, "unit_bases": 1},
            "compute": [],
            "failures": [],
            "input": {"records": total},
            "model": {"config": {"d_model": WIDTH}},
            "seconds": 0,
            "finished": "",
            "command": [],
        }
        with EmbeddingWriter(paths[-1], ids=ids, d_model=WIDTH, poolings=["mean"], layers=[1], obs=obs) as writer:
            writer.write(0, "mean", 1, values)
            writer.commit(provenance)
    before, cpu = peak_mib(), time.process_time()
    merged = merge.merge(work / "whole.h5")
    cpu = time.process_time() - cpu
    matrix = total * WIDTH * 4
    report("merged_mb", merged.size_bytes / 1e6, f"{SHARDS} shards of {ROWS_OF_SHARD} rows of {WIDTH} float32")
    report("merge_mb_per_second", merged.size_bytes / 1e6 / merged.seconds, "read; written; fsynced; verified")
    report("merge_matrix_mb_per_second", matrix / 1e6 / merged.seconds, "the same but for ids and columns")
    report("merge_mb_per_cpu_second", merged.size_bytes / 1e6 / cpu, "the same without waiting")
    report("merge_peak_mib_more", peak_mib() - before, "")
    report("copy_mb_per_second", merged.size_bytes / 1e6 / plain_copy(paths, work / "copy"), "their bytes; fsynced")


def plain_copy(paths: Sequence[Path], target: Path) -> float:
    """Seconds in which the bytes of files are put into one: what this disk gives at this time."""
    start = time.monotonic()
    with target.open("wb") as file:
        for path in paths:
            with path.open("rb") as source:
                shutil.copyfileobj(source, file, 16 << 20)
        file.flush()
        os.fsync(file.fileno())
    return time.monotonic() - start


def report(name: str, value: float, note: str) -> None:
    """One line of the result."""
    print(f"{name},{value:.6g},{note},{torch.__version__},{platform.machine()} {torch.get_num_threads()} thread")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("what,value,note,torch,machine")
    with tempfile.TemporaryDirectory() as folder:
        if "merge" not in sys.argv:
            commits(Path(folder))
        merging(Path(folder))
