"""Steps of the fast path in float32 -> seconds that each takes, while somebody measures; else nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_watches: list[dict[str, float]] = []


@contextmanager
def stage(name: str, device: torch.device) -> Iterator[None]:
    """Adds the time of what it surrounds to all who measure; on a GPU they wait for the device."""
    if not _watches:
        yield
        return
    start = _now(device)
    yield
    seconds = _now(device) - start
    for watch in _watches:
        watch[name] = watch.get(name, 0.0) + seconds


@contextmanager
def stages() -> Iterator[dict[str, float]]:
    """Seconds of each stage by name, filled in while the context lasts."""
    watch: dict[str, float] = {}
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.pop()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
