"""SIGKILL at random moments of one job with --tokens: is anything lost, doubled or changed, and how much time?

python tests/benchmarks/benchmark_kills.py [KILLS] > tests/benchmarks/results/kills.csv
"""

import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from genoconv.cli.app import main
from genoconv.outputs.formats import tokens_path
from genoconv.outputs.part_files import Part
from genoconv.runs import compute

MODEL = Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"
RECORDS = 2000
INTERVAL = 0.5


def noting(log: Path) -> None:
    """Note in a file when each unit of work begins, and its rows."""
    true = compute.embed_batch

    def embed_batch(*arguments: Any) -> Any:
        with log.open("a") as file:
            file.write(json.dumps([time.monotonic(), arguments[1].rows.tolist()]) + "\n")
        return true(*arguments)

    compute.embed_batch = embed_batch  # type: ignore[assignment]


def lost_seconds(log: Path, committed: set[int], killed: float) -> float:
    """Since when units had been worked at that no part holds."""
    begun = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return max((killed - begin for begin, rows in begun if not committed.issuperset(rows)), default=0.0)


def embed(fasta: Path, out: Path) -> int:
    """Start the command in a forked child, which has imported everything already; its process id."""
    child = os.fork()
    if child == 0:
        noting(out.with_suffix(".log"))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        options = ["--model", str(MODEL), "--threads", "1", "--commit-every", str(INTERVAL), "--tokens"]
        sys.argv = ["genoconv", "embed", str(fasta), "-o", str(out), *options]
        code: object = 1
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            os._exit(int(code) if isinstance(code, int) else 0)  # nothing of the parent's is tidied up here
    return child


def rows_of(folder: Path) -> list[int]:
    """The rows of all committed parts."""
    return [row for path in folder.glob("part-*.npz") for row in Part.open(path).rows.tolist()]


def data_of(path: Path) -> dict[str, bytes]:
    """Every dataset but the provenance."""
    found: dict[str, bytes] = {}

    def note(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and "provenance" not in name:
            value = node[()]
            found[name] = b"\0".join(value) if value.dtype.hasobject else np.asarray(value).tobytes()

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def run(kills: int, work: Path) -> None:
    """Kill so many times, check after each, and print what was seen as CSV."""
    letters = random.Random(1)
    fasta, whole, out = work / "genes.fa", work / "whole.h5", work / "out.h5"
    fasta.write_text(
        "".join(f">r{k}\n{''.join(letters.choices('ACGT', k=letters.randint(20, 800)))}\n" for k in range(RECORDS))
    )
    start = time.monotonic()
    assert os.waitpid(embed(fasta, whole), 0)[1] == 0
    seconds = time.monotonic() - start
    expected, expected_tokens = data_of(whole), data_of(tokens_path(whole))
    folder = work / "out.h5.parts"
    finished, lost, committed, log = 0, list[float](), set[int](), work / "out.log"
    for _ in range(kills):
        log.unlink(missing_ok=True)
        child = embed(fasta, out)
        time.sleep(letters.uniform(0, 0.5 * seconds))
        os.kill(child, signal.SIGKILL)
        killed = time.monotonic()
        os.waitpid(child, 0)
        if tokens_path(out).exists():
            assert data_of(tokens_path(out)) == expected_tokens, "the numbers of single bases differ"
        if out.exists():
            assert data_of(out) == expected, "the data differ"
            finished += 1
            out.unlink()
            tokens_path(out).unlink()
            shutil.rmtree(folder, ignore_errors=True)
            committed = set()
            continue
        rows = rows_of(folder)
        assert len(rows) == len(set(rows)), "rows are doubled"
        assert committed <= set(rows), "rows are lost"
        lost.append(lost_seconds(log, set(rows), killed))
        committed = set(rows)
    assert os.waitpid(embed(fasta, out), 0)[1] == 0
    assert data_of(out) == expected, "the data differ"
    assert data_of(tokens_path(out)) == expected_tokens, "the numbers of single bases differ"
    print("kills,records,jobs_finished,uninterrupted_seconds,commit_interval,mean_lost,most_lost,torch,cpu")
    machine = platform.processor() or platform.machine()
    seconds_lost = f"{np.mean(lost):.3f},{max(lost):.3f}"
    print(f"{kills},{RECORDS},{finished + 1},{seconds:.2f},{INTERVAL},{seconds_lost},{torch.__version__},{machine}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder_name:
        run(int(sys.argv[1]) if len(sys.argv) > 1 else 200, Path(folder_name))
