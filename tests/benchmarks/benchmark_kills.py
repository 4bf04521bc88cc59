"""SIGKILL at random moments of one job, again and again: is anything lost, doubled or changed, and how much time?

python tests/benchmarks/benchmark_kills.py [KILLS] > tests/benchmarks/results/kills.csv
"""

import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch

from genoconv.cli.app import main
from genoconv.outputs.part_files import Part

MODEL = Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"
RECORDS = 2000
INTERVAL = 0.2


def embed(fasta: Path, out: Path) -> int:
    """Start the command in a forked child, which has imported everything already; its process id."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        options = ["--model", str(MODEL), "--threads", "1", "--commit-every", str(INTERVAL)]
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
    expected = data_of(whole)
    folder = work / "out.h5.parts"
    finished, longest, committed = 0, 0.0, set[int]()
    for _ in range(kills):
        child, start = embed(fasta, out), time.time()
        time.sleep(letters.uniform(0, 0.5 * seconds))
        last = max([start, *(path.stat().st_mtime for path in folder.glob("part-*.npz"))])
        os.kill(child, signal.SIGKILL)
        killed = time.time()
        os.waitpid(child, 0)
        if out.exists():
            assert data_of(out) == expected, "the data differ"
            finished += 1
            out.unlink()
            shutil.rmtree(folder, ignore_errors=True)
            committed = set()
            continue
        rows = rows_of(folder)
        assert len(rows) == len(set(rows)), "rows are doubled"
        assert committed <= set(rows), "rows are lost"
        if set(rows) != set(range(RECORDS)):
            longest = max(longest, killed - last)
        committed = set(rows)
    assert os.waitpid(embed(fasta, out), 0)[1] == 0
    assert data_of(out) == expected, "the data differ"
    print("kills,records,jobs_finished_between,uninterrupted_seconds,commit_interval,longest_without_commit,torch,cpu")
    machine = platform.processor() or platform.machine()
    print(f"{kills},{RECORDS},{finished + 1},{seconds:.2f},{INTERVAL},{longest:.2f},{torch.__version__},{machine}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder_name:
        run(int(sys.argv[1]) if len(sys.argv) > 1 else 200, Path(folder_name))
