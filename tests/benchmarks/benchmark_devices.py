"""Records per second on one device, two, four: how much of the second and fourth GPU is used on a mixed gene set.

python tests/benchmarks/benchmark_devices.py cuda:0 cuda:0,cuda:1 all > tests/benchmarks/results/devices.csv
"""

import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from genoconv import embed
from genoconv.outputs.verification import verify
from genoconv.runs.job import EmbedSettings

RECORDS, MEDIAN, SPREAD, LONGEST = 4000, 20_000, 1.3, 2_000_000


def genes(path: Path, records: int) -> None:
    """Random sequences with the lengths of genes: log-normal, from hundreds of bases to two million."""
    numbers = np.random.default_rng(1)
    lengths = np.minimum(LONGEST, np.exp(numbers.normal(np.log(MEDIAN), SPREAD, records))).astype(int) + 100
    with path.open("wb") as file:
        for row, length in enumerate(lengths.tolist()):
            file.write(
                b">g%d\n%s\n" % (row, np.frombuffer(b"ACGT", np.uint8)[numbers.integers(0, 4, length)].tobytes())
            )


def measure(devices: list[str], records: int) -> None:
    """Embed the set on each list of devices; the first is what the others are compared with."""
    print("devices,records,bases,seconds,records_per_second,times_the_first,torch,machine")
    first, kind = 0.0, torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    with tempfile.TemporaryDirectory() as name:
        fasta = Path(name) / "genes.fa"
        genes(fasta, records)
        for number, device in enumerate(devices):
            output = Path(name) / f"{number}.h5"
            job = embed.prepare([fasta], EmbedSettings(device=device))
            done = embed.run(job, output)
            if verify(output):
                raise SystemExit("the output is damaged; no speed is reported")
            rate = done.records / done.seconds
            first = first or rate
            speed = f"{done.seconds:.2f},{rate:.1f},{rate / first:.2f}"
            print(f"{device.replace(',', '+')},{done.records},{done.bases},{speed},{torch.__version__},{kind}")


if __name__ == "__main__":
    chosen = [word for word in sys.argv[1:] if not word.isdecimal()]
    counts = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    measure(chosen or ["cuda:0", "all"], counts[0] if counts else RECORDS)
