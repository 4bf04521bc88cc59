"""Records per second on one device and on several: how much of the second GPU is used on a mixed gene set.

python tests/benchmarks/benchmark_devices.py cuda:0 cuda:0,cuda:1 --seconds 20 --rounds 2 > \
    tests/benchmarks/results/devices.csv

Seconds are those from the first unit handed out to the verified file. A worker's start (Python, PyTorch, the context of
its GPU) is the same for any input and told beside them: what of it the reading of the input does not hide. A model is
genoconv-mini, or random weights of a width and a number of layers: 256x8.
"""

import argparse
import csv
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from genoconv import embed
from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.names import DEFAULT_MODEL
from genoconv.model.pretrained import save_checkpoint
from genoconv.outputs.verification import verify
from genoconv.runs.job import EmbedSettings
from genoconv.runs.transfers import Unit
from genoconv.runs.workers import Team

MEDIAN, SPREAD, LONGEST = 20_000, 1.3, 2_000_000
"""Bases of the records: log-normal as genes are, from hundreds to two million."""

WARM_UP_BASES = 20_000_000
"""Embedded first, which compiles what has to be compiled and says how many bases a run of some seconds has."""

COLUMNS = (
    "model,round,devices,records,bases,start_seconds,seconds,"
    "records_per_second,bases_per_second,times_one,torch,machine"
)


def genes(path: Path, bases: int) -> None:
    """Random sequences of so many bases, with the lengths of genes."""
    numbers, total, row = np.random.default_rng(1), 0, 0
    with path.open("wb") as file:
        while total < bases:
            length = min(LONGEST, int(np.exp(numbers.normal(np.log(MEDIAN), SPREAD)))) + 100
            letters = np.frombuffer(b"ACGT", np.uint8)[numbers.integers(0, 4, length, dtype=np.uint8)]
            file.write(b">g%d\n%s\n" % (row, letters.tobytes()))
            total, row = total + length, row + 1


def model_of(name: str, folder: Path) -> str:
    """What --model takes: the built-in model, or a folder with random weights of a shape."""
    if "x" not in name:
        return name
    width, layers = map(int, name.split("x"))
    torch.manual_seed(0)
    config = HyenaConfig(d_model=width, n_layer=layers, d_inner=4 * width, l_max=160_002)
    (folder / name).mkdir(exist_ok=True)
    save_checkpoint(HyenaDNA(config), folder / name, buffers=False)
    return str(folder / name)


def embedded(fasta: Path, output: Path, model: str, devices: str) -> tuple[int, int, float, float]:
    """Records and bases of one run, the seconds until the first worker was ready, and those from then on."""
    job = embed.prepare([fasta], EmbedSettings(model=model, device=devices))
    handed_out: list[float] = []
    tell, units = Team._tell, embed.units

    def noted(team: Team, pipe: Any, what: Any) -> None:
        if isinstance(what, tuple):
            handed_out.append(time.perf_counter())
        tell(team, pipe, what)

    def taken(*arguments: Any) -> Iterator[Unit]:
        for unit in units(*arguments):
            handed_out.append(time.perf_counter())
            yield unit

    begin = time.perf_counter()
    with patch.object(Team, "_tell", noted) if job.team else patch.object(embed, "units", taken):
        done = embed.run(job, output, overwrite=True)
    end = time.perf_counter()
    if verify(output):
        raise SystemExit("the output is damaged; no speed is reported")
    return done.records, done.bases, handed_out[0] - begin, end - handed_out[0]


def measure(model: str, devices: list[str], seconds: float, rounds: int, work: Path) -> None:
    """Embed a set of so many seconds on each list of devices; the first is what the others are compared with."""
    named, fasta, output = model_of(model, work), work / "genes.fa", work / "genes.h5"
    genes(fasta, WARM_UP_BASES)
    for _ in range(2):
        _, bases, _, taken = embedded(fasta, output, named, devices[0])
    genes(fasta, int(bases / taken * seconds))
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    table = csv.writer(sys.stdout, lineterminator="\n")
    for number in range(1, rounds + 1):
        first = 0.0
        for names in devices:
            records, bases, start, taken = embedded(fasta, output, named, names)
            first = first or records / taken
            speeds = [f"{records / taken:.1f}", f"{bases / taken:.0f}", f"{records / taken / first:.3f}"]
            row = [model, number, names.replace(",", "+"), records, bases, f"{start:.2f}", f"{taken:.2f}"]
            table.writerow([*row, *speeds, torch.__version__, machine])
            sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", nargs="*", default=["cuda:0", "all"])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    print(COLUMNS, flush=True)
    with tempfile.TemporaryDirectory() as folder_name:
        measure(chosen.model, chosen.devices, chosen.seconds, chosen.rounds, Path(folder_name))
