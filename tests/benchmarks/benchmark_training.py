"""Training steps on a GPU: genoconv's against the same model and optimiser in plain torch, as upstream writes them.

    python tests/benchmarks/benchmark_training.py

All kinds take the same weights and windows, bfloat16 for matrices (autocast) and fused AdamW. The first step's losses
and gradients are compared, and nothing is reported if they differ. Writes tests/benchmarks/results/training_h200.csv.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from genoconv.measuring.plain import plain_states
from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA
from genoconv.training.recording import Recording
from genoconv.training.start import new_model

RESULTS = Path(__file__).parent / "results"
TOLERANCES = {"loss": 1e-3, "gradients": 0.1}
"""Relative, between kinds: bfloat16 rounds each gradient of a layer by some 0.4%, and the layers add up."""


def plain_torch(model: HyenaDNA, ids: Tensor) -> Tensor:
    """Logits (B, L, rows), as upstream computes them."""
    logits: Tensor = model.head(plain_states(model, ids))
    return logits


def genoconv(model: HyenaDNA, ids: Tensor) -> Tensor:
    """Logits (B, L, rows), as `genoconv train` computes them."""
    logits: Tensor = model(ids)
    return logits


Forward = Callable[[HyenaDNA, Tensor], Tensor]
KINDS: dict[str, Forward] = {"plain torch": plain_torch, "genoconv": genoconv, "genoconv --compile": genoconv}


class Steps:
    """Training steps of one kind."""

    def __init__(self, kind: str, config: HyenaConfig, windows: Tensor) -> None:
        self.model = new_model(config, 0).to(windows.device).train()
        self._compiled = kind.endswith("--compile")
        if self._compiled:
            for block in self.model.stack:
                block.compile_around_convolution()
        self._forward = KINDS[kind]
        self._windows = windows
        self._weight = torch.ones((), device=windows.device)
        self._parameters: list[Tensor] = list(self.model.parameters())
        self._recording: Recording | None = None
        self._optimiser = torch.optim.AdamW(self._parameters, lr=1e-4, fused=windows.device.type == "cuda")

    def passes(self, windows: Tensor, weight: Tensor) -> Tensor:
        """Forward and backward: the mean loss."""
        with torch.autocast(windows.device.type, dtype=torch.bfloat16):
            logits = self._forward(self.model, windows[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten()) * weight
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def gradients(self) -> tuple[float, Tensor]:
        """The loss of the windows, and all gradients in one vector, on the CPU; as steps compute them."""
        loss = self._passes_now()
        return loss.item(), torch.cat([w.grad.flatten() for w in self._parameters if w.grad is not None]).cpu()

    def step(self) -> None:
        """One step, whole."""
        self._passes_now()
        clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()

    def _passes_now(self) -> Tensor:
        if self._compiled and self._windows.device.type == "cuda":
            if self._recording is None:
                self._recording = Recording(self.passes, self._windows, self._weight, self._parameters)
            return self._recording.replay(self._windows, self._weight)
        self._optimiser.zero_grad(set_to_none=True)
        return self.passes(self._windows, self._weight)


def measure(steps: Steps, count: int, device: torch.device) -> tuple[float, int]:
    """Seconds of a step, the best of three series, and the peak of memory in bytes."""
    series = []
    for _ in range(3):
        _wait(device)
        start = time.perf_counter()
        for _ in range(count):
            steps.step()
        _wait(device)
        series.append((time.perf_counter() - start) / count)
    return min(series), torch.cuda.max_memory_allocated() if device.type == "cuda" else 0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def compare(
    config: HyenaConfig, context: int, batch_bases: int, count: int, device: torch.device
) -> list[dict[str, Any]]:
    """All kinds at one context length.

    Raises:
        SystemExit: Their losses or gradients differ.
    """
    torch.manual_seed(1)
    windows = torch.randint(7, 11, (batch_bases // context, context + 1), device=device)
    rows: list[dict[str, Any]] = []
    expected: tuple[float, Tensor] | None = None
    for kind in KINDS:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        steps = Steps(kind, config, windows)
        found = steps.gradients()
        expected = expected or found
        differences = {
            "loss": abs(found[0] - expected[0]) / expected[0],
            "gradients": float((found[1] - expected[1]).norm() / expected[1].norm()),
        }
        if any(not differences[name] <= most for name, most in TOLERANCES.items()):
            sys.exit(f"{kind} at {context} bases differs from {next(iter(KINDS))}: {differences}")
        seconds, memory = measure(steps, count, device)
        rows.append(row(kind, config, windows, seconds, memory, differences, device))
        rows[-1]["times_faster"] = round(rows[0]["ms_a_step"] / rows[-1]["ms_a_step"], 2)
        print(rows[-1], file=sys.stderr, flush=True)
        del steps
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return rows


def row(
    kind: str,
    config: HyenaConfig,
    windows: Tensor,
    seconds: float,
    memory: int,
    differences: dict[str, float],
    device: torch.device,
) -> dict[str, Any]:
    """One line of the table."""
    batch, context = windows.shape[0], windows.shape[1] - 1
    return {
        "kind": kind,
        "d_model": config.d_model,
        "n_layer": config.n_layer,
        "d_inner": config.d_inner,
        "context": context,
        "batch": batch,
        "ms_a_step": round(1e3 * seconds, 2),
        "bases_per_s": round(batch * context / seconds),
        "peak_gib": round(memory / 2**30, 2),
        "loss_differs": f"{differences['loss']:.1e}",
        "gradients_differ": f"{differences['gradients']:.1e}",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "triton": triton.__version__,
    }


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--context", type=int, action="append", default=[], help="bases; repeat for more")
    parser.add_argument("--batch-bases", type=int, default=131_072, help="bases in a step")
    parser.add_argument("--steps", type=int, default=10, help="steps in a series; the best of three series counts")
    parser.add_argument("--d-model", type=int, default=256, help="width; d_inner is four times that")
    parser.add_argument("--layers", type=int, default=7, help="blocks")
    parser.add_argument("--device", default="cuda", help="cpu is only for trying the script")
    parser.add_argument("--output", type=Path, default=RESULTS / "training_h200.csv", help="CSV file to write")
    options = parser.parse_args()
    device = torch.device(options.device)
    rows = []
    for context in options.context or [32_768]:
        config = HyenaConfig(
            options.d_model, options.layers, 4 * options.d_model, max(context, 32_770), filter_shift=0.0
        )
        rows += compare(config, context, options.batch_bases, options.steps, device)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
