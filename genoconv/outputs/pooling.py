"""Hidden states of a padded batch (B, L, d) -> one vector per record, (B, d) or of both strands (B, 2d)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from genoconv.kernels.backends import triton_obstacle

POOLS = ("mean", "max", "last")

SITE = "site"
"""Not one state but two, both of the same base: of the sequence as given, and of its reverse complement.

A causal model's state at a base knows what lies upstream of it; that of the other strand knows what lies downstream.
"""

# Positions of a record taken at a time on a CPU. One core, a record of 262,144 bases of 256 numbers: 0.03 s at 1024,
# 0.05 s at 256, 0.06 s at 4096, 0.30 s all at once.
CHUNK_POSITIONS = 1024

CHUNK_NUMBERS = 1 << 24
"""Numbers taken at a time on a GPU: enough to fill it. A sum makes a float64 copy of them, 128 MiB."""


@torch.no_grad()
def pool(hidden: Tensor, lengths: Tensor | Sequence[int], kind: str) -> Tensor:
    """Pools a right-padded batch.

    The mean is accumulated in float64, so that neither the length of a record nor the other records of its batch show
    in the float32 result.

    Args:
        hidden: Hidden states (B, L, d), any float type; what padding holds, even NaN, does not matter.
        lengths: Bases of each record (B,), from 1 to L.
        kind: One of `POOLS`; "last" is the hidden state of the last base.

    Returns:
        One vector per record (B, d), float32, on the device of `hidden`; it shares no memory with it.

    Raises:
        ValueError: An unknown kind, or lengths that do not fit.
    """
    sizes = torch.as_tensor(lengths).to(device="cpu", dtype=torch.int64)
    _check(hidden, sizes, kind)
    on_device = _sent(sizes, hidden.device)
    if kind == "last":
        return hidden[torch.arange(len(sizes), device=hidden.device), on_device - 1].float()
    if kind == "mean" and _has_kernel(hidden):
        from genoconv.kernels.block import launch

        return (launch.sums(hidden, on_device) / on_device[:, None]).float()
    reduce = _by_record if hidden.device.type == "cpu" else _together
    if kind == "max":
        return reduce(hidden, sizes, kind).float()
    return (reduce(hidden, sizes, kind) / on_device[:, None]).float()


def _sent(numbers: Tensor, device: torch.device) -> Tensor:
    """A few numbers of the host on a device, without waiting for what that still computes."""
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers.to(device)


def _has_kernel(hidden: Tensor) -> bool:
    """Whether sums are taken by a kernel: 3 to 8 times as fast as `_together` (one NVIDIA H200)."""
    return hidden.is_cuda and hidden.stride(2) == 1 and not triton_obstacle(hidden.device, hidden.dtype, 1)


def _check(hidden: Tensor, sizes: Tensor, kind: str) -> None:
    if kind not in POOLS:
        raise ValueError(f"pooling {kind!r} is none of {POOLS}")
    if hidden.ndim != 3 or hidden.shape[0] != len(sizes):
        raise ValueError(f"hidden of shape {tuple(hidden.shape)} for {len(sizes)} records")
    if len(sizes) and int(sizes.min()) < 1:
        raise ValueError("a record of no bases has no pooled embedding")
    if len(sizes) and int(sizes.max()) > hidden.shape[1]:
        raise ValueError(f"{hidden.shape[1]} positions of a record of {int(sizes.max())}")


def _start(hidden: Tensor, kind: str) -> Tensor:
    """What maxima, in the type of hidden (B, L, d), or float64 sums start from, (B, d)."""
    start, dtype = (float("-inf"), hidden.dtype) if kind == "max" else (0.0, torch.float64)
    return torch.full((hidden.shape[0], hidden.shape[2]), start, dtype=dtype, device=hidden.device)


def _take(state: Tensor, chunk: Tensor, dim: int, kind: str) -> None:
    """Takes the positions of a chunk, which lie along a dimension, into maxima or sums."""
    if kind == "max":
        torch.maximum(state, chunk.amax(dim=dim), out=state)
    else:
        state += chunk.sum(dim=dim, dtype=torch.float64)


def _by_record(hidden: Tensor, sizes: Tensor, kind: str) -> Tensor:
    """Maxima or float64 sums (B, d) over the positions of each record in hidden (B, L, d), row by row.

    On the CPU 20 times faster than `_together` (64 records of 1,000 to 4,096 bases, 256 numbers each, one core).
    """
    state = _start(hidden, kind)
    for row, states, size in zip(state, hidden, sizes.tolist(), strict=True):
        for chunk in states[:size].split(CHUNK_POSITIONS):
            _take(row, chunk, 0, kind)
    return state


def _together(hidden: Tensor, sizes: Tensor, kind: str) -> Tensor:
    """The same for all rows at once: few launches, as a GPU wants it."""
    state, ends = _start(hidden, kind), _sent(sizes, hidden.device)[:, None]
    shortest, longest = sizes.aminmax()
    step = max(1, CHUNK_NUMBERS // max(1, state.numel()))
    for first in range(0, int(longest), step):
        chunk = hidden[:, first : first + step]
        if first + step > int(shortest):
            padding = torch.arange(first, first + chunk.shape[1], device=hidden.device) >= ends  # (B, l)
            chunk = chunk.masked_fill(padding[:, :, None], float("-inf") if kind == "max" else 0.0)
        _take(state, chunk, 1, kind)
    return state


def pool_site(
    hidden: Tensor, lengths: Tensor | Sequence[int], site: int | None = None, *, reverse: bool = False
) -> Tensor:
    """Takes the states of one base of each record.

    Args:
        hidden: Hidden states (B, L, d), any float type, padded on the right.
        lengths: Bases of each record (B,), from 1 to L.
        site: The base, counted from 1; None is the middle one (of an even number, the second of the two).
        reverse: The states are those of the reverse complements; the site is counted along the sequences as given.

    Returns:
        One vector per record (B, d), float32, on the device of `hidden`.

    Raises:
        ValueError: A record has no such base.
    """
    sizes = torch.as_tensor(lengths).to(device="cpu", dtype=torch.int64)
    places = sizes // 2 if site is None else torch.full_like(sizes, site - 1)
    if bool(((places < 0) | (places >= sizes)).any()):
        raise ValueError(f"no base {site} in a record of {int(sizes.min())}")
    places = sizes - 1 - places if reverse else places
    rows = torch.arange(len(sizes), device=hidden.device)
    return hidden[rows, _sent(places, hidden.device)].float()
