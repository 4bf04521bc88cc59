"""One run of a model -> which part of its time each of its steps takes."""

import re
from collections.abc import Callable, Iterable

import torch
from torch.profiler import ProfilerActivity, profile

from genoconv.model.stages import stages

KERNELS = {
    "short filter, gates": r"^gates_kernel",
    "output projection, MLP": r"^transform_kernel",
    "embedding": r"^embed_kernel",
    "convolution": r"^(blocks|direct|signals|planes|rows|middle|(outer|pair)_(forward|inverse)|decimate|interpolate"
    r"|exact.+)_kernel",
    "filters": r"^(turn|pack)_kernel|fft",
    "pooling": r"^sums_kernel",
    "projections": r"gemm|nvjet|cutlass|xmma|cublas|splitk",
}
"""Group -> names of its GPU kernels in half precision; what no group has is `other`. Matrix products that make filters,
where spectra are not kept, are among the projections."""


def shares(run: Callable[[], object], device: torch.device, *, precision: str, ms: float) -> dict[str, float]:
    """Parts of the time of one more run.

    Args:
        run: Computes the hidden states.
        device: Where.
        precision: How. In half precision the kernels of a GPU are profiled, else the steps are timed.
        ms: The run's usual time: what is left of it when all kernels are done is `idle`.
    """
    if device.type == "cuda" and precision == "half":
        return kernel_shares(_kernel_times(run, device), ms)
    with stages() as seconds:
        run()
    total = sum(seconds.values())
    return {name: part / total for name, part in seconds.items()}


def kernel_shares(times: Iterable[tuple[str, float]], ms: float) -> dict[str, float]:
    """Names and milliseconds of kernels -> parts of `ms`, by group, largest first; nothing if there are no kernels."""
    found: dict[str, float] = {}
    for name, taken in times:
        group = group_of(name)
        found[group] = found.get(group, 0.0) + taken
    if not found:
        return {}
    found["idle"] = max(0.0, ms - sum(found.values()))
    return {group: taken / ms for group, taken in sorted(found.items(), key=lambda item: -item[1]) if taken}


def group_of(kernel: str) -> str:
    """The group that a kernel belongs to."""
    return next((group for group, names in KERNELS.items() if re.search(names, kernel, re.IGNORECASE)), "other")


def _kernel_times(run: Callable[[], object], device: torch.device) -> list[tuple[str, float]]:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        run()
        torch.cuda.synchronize(device)
    # Entries of operators hold the times of the kernels that they start once more: only the kernels' own are taken.
    kernels = [event for event in found.key_averages() if event.device_type.name == "CUDA"]
    return [(event.key, event.self_device_time_total / 1e3) for event in kernels]
