"""HyenaDNA on the CPU: genoconv's fast path against the same operations in plain torch, as upstream writes them.

    python tests/benchmarks/benchmark_model_cpu.py --length 32768 --length 160000 --alone 1000000

Every measurement is a process of its own, so that its peak memory is its own; both get the same weights, ids, threads.
The outputs are compared first, and nothing is reported if they differ. Writes tests/benchmarks/results/model_cpu.csv.
"""

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from genoconv.model.block import Block
from genoconv.model.config import HyenaConfig
from genoconv.model.filter import ImplicitFilter
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.inference import hidden_states

RESULTS = Path(__file__).parent / "results" / "model_cpu.csv"
D_MODEL, N_LAYER = 256, 8
COMPARED = 200
"""Positions of which the final states are compared."""
TOLERANCE = 1e-4
"""Largest difference between the two, on final states of size 1 (the golden tests' tolerance)."""


def plain_torch(model: HyenaDNA, ids: Tensor) -> Tensor:
    """Final states (B, L, d), every operation on whole tensors, filters made anew in each layer, as upstream does."""
    x = model.embedding(ids)
    for block in model.stack:
        x = x + plain_operator(block, block.norm1(x))
        x = x + block.mlp(block.norm2(x))
    states: Tensor = model.norm(x)
    return states


def plain_operator(block: Block, x: Tensor) -> Tensor:
    """The Hyena operator with torch's depthwise convolution and transforms of twice the length."""
    operator, L = block.operator, x.shape[1]
    u = operator.in_proj(x).transpose(1, 2)
    short = operator.short_filter
    u = functional.conv1d(u, short.weight[:, None], short.bias, padding=2, groups=u.shape[1])[..., :L]
    x0, x1, v = u.chunk(3, dim=1)
    v = v * x1
    spectrum = torch.fft.rfft(plain_filter(operator.long_filter, L), n=2 * L) / (2 * L)
    y = torch.fft.irfft(torch.fft.rfft(v, n=2 * L) * spectrum, n=2 * L, norm="forward")[..., :L]
    y = y + v * operator.skip[:, None]
    mixed: Tensor = operator.out_proj((y * x0).transpose(1, 2))
    return mixed


def plain_filter(long_filter: ImplicitFilter, length: int) -> Tensor:
    """The taps, (d, L), laid out as upstream does: position by position."""
    h = long_filter.positions.z[:length]
    for linear in long_filter.inner:
        h = torch.sin(long_filter.freq * linear(h))
    window = torch.exp(-long_filter.positions.t[:length] * long_filter.deltas.abs()) + long_filter.shift
    taps: Tensor = long_filter.outer(h) * window
    return taps.t()


def genoconv(model: HyenaDNA, ids: Tensor) -> Tensor:
    """Final states (B, L, d), by the fast path."""
    return next(iter(hidden_states(model, ids)))[1]


KINDS: dict[str, Callable[[HyenaDNA, Tensor], Tensor]] = {"plain torch": plain_torch, "genoconv": genoconv}


def measure(kind: str, length: int, repeats: int, threads: int) -> dict[str, Any]:
    """Times one kind in this process: seconds of the first and the best run, CPU seconds, bytes added at the peak."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = HyenaConfig(d_model=D_MODEL, n_layer=N_LAYER, d_inner=4 * D_MODEL, l_max=length)
    model = HyenaDNA(config).eval()
    # Of the size that training gives them; as they start (0.02), rounding of the first states is blown up by the norms.
    torch.nn.init.normal_(model.embedding.weight)
    ids = torch.randint(7, 11, (1, length))
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    wall, cpu = [], []
    sample = torch.empty(0)
    with torch.inference_mode():
        for _ in range(repeats):
            start, start_cpu = time.perf_counter(), time.process_time()
            states = KINDS[kind](model, ids)
            wall.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
            sample = states[0, torch.linspace(0, length - 1, COMPARED).long()].clone()
            del states
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {"first": wall[0], "best": min(wall), "cpu": min(cpu), "added": added, "sample": sample.tolist()}


def in_a_process(kind: str, length: int, repeats: int, threads: int) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--measure", kind, "--length", str(length)]
    command += ["--repeats", str(repeats), "--threads", str(threads)]
    # Waiting threads sleep: on a machine that others use too, spinning ones made both kinds 3 to 10 times slower.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"{kind:12} {length:>9,} bases  best {found['best']:7.2f} s  cpu {found['cpu']:7.2f} s", file=sys.stderr)
    return found


def row(kind: str, length: int, found: dict[str, Any], threads: int) -> dict[str, Any]:
    """One line of the table."""
    return {
        "kind": kind,
        "d_model": D_MODEL,
        "n_layer": N_LAYER,
        "length": length,
        "first_s": round(found["first"], 2),
        "best_s": round(found["best"], 2),
        "cpu_s": round(found["cpu"], 2),
        "bases_per_s": round(length / found["best"]),
        "added_mib": round(found["added"] / 2**20),
        "times_faster": "",
        "times_less_memory": "",
        "largest_difference": "",
        "threads": threads,
        "cpu": cpu_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    """The processor's own name, and how many of its cores this machine has."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name} x {os.cpu_count()}"


def compare(length: int, repeats: int, threads: int) -> list[dict[str, Any]]:
    """Both kinds at one length.

    Raises:
        SystemExit: Their outputs differ.
    """
    plain = in_a_process("plain torch", length, repeats, threads)
    ours = in_a_process("genoconv", length, repeats, threads)
    difference = (torch.tensor(plain["sample"]) - torch.tensor(ours["sample"])).abs().max().item()
    if not difference <= TOLERANCE:
        sys.exit(f"outputs differ by {difference:.1e} at {length} bases: nothing to report")
    rows = [row("plain torch", length, plain, threads), row("genoconv", length, ours, threads)]
    rows[1]["times_faster"] = round(plain["best"] / ours["best"], 2)
    rows[1]["times_less_memory"] = round(plain["added"] / ours["added"], 2)
    rows[1]["largest_difference"] = f"{difference:.1e}"
    return rows


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--length", type=int, action="append", default=[], help="bases; repeat for more lengths")
    parser.add_argument("--alone", type=int, action="append", default=[], help="bases, for genoconv alone")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each; the best one counts")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each")
    parser.add_argument("--output", type=Path, default=RESULTS, help="CSV file to write")
    parser.add_argument("--measure", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.length[0], options.repeats, options.threads)))
        return
    rows = []
    for length in options.length or [32_768, 160_000]:
        rows += compare(length, options.repeats, options.threads)
    for length in options.alone:
        rows.append(row("genoconv", length, in_a_process("genoconv", length, 1, options.threads), options.threads))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
