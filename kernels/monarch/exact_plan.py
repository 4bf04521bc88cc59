"""Lengths become plans for the kernels with float32's accuracy: one block, or passes; pure Python, needs no GPU."""

from functools import lru_cache
from math import ceil, prod

from genoconv.kernels.monarch.plan import LARGEST_OUTER, LONGEST, SMALLEST_TILE, Plan, candidates, tile

# Picoseconds a sample, gated, float32 (H200, Triton 3.6), by length of a block or row, or by height of a tile.
_BLOCKS = {1024: 12.5, 2048: 13.2, 4096: 15.6}
_INNER = {2048: 15.4, 4096: 24.1}
_OUTER = {16: 8.4, 32: 8.9, 64: 9.8}
_MIDDLE = {16: 9.7, 32: 10.5, 64: 11.5}
# Bytes of shared memory that rows take, by their length (Triton 3.6 and 3.9); an H100 has 227 KiB, others have 99.
_SHARED = {2048: 77_824, 4096: 131_072}
# A tile that is not full takes as long as a full one; how much of that is memory traffic, which it does without, was
# fitted to 2, 8 and 16 rows in a tile of 16.
_EMPTY = 0.65


@lru_cache(maxsize=4096)
def choose(length: int, shared_memory: int = 1 << 18) -> Plan:
    """The cheapest plan for signals and filters of `length` samples, on a GPU with so many bytes of shared memory.

    Raises:
        ValueError: The signal is longer than any plan.
    """
    plans = [
        plan
        for plan in candidates(length, length)
        if (plan.method == "blocks" and not plan.history)
        or (
            plan.method == "passes"
            and not plan.history
            and plan.factors[0] <= LARGEST_OUTER
            and _SHARED[prod(plan.factors[-2:])] <= max(shared_memory, _SHARED[2048])
        )
    ]
    if not plans:
        raise ValueError(f"signals of {length} samples are longer than the longest transform, {LONGEST}")
    return min(plans, key=lambda plan: cost(plan, length))


def cost(plan: Plan, length: int) -> float:
    """Predicted time of a signal in picoseconds, on a GPU that is filled."""
    if plan.method == "blocks":
        return ceil(length / plan.n) * plan.n * _BLOCKS[plan.n]
    passes = _INNER[prod(plan.factors[-2:])]
    for factor, rates in zip(plan.factors[:-2], (_OUTER, _MIDDLE), strict=False):
        passes += rates[tile(factor)] * (max(SMALLEST_TILE, factor) / factor) ** _EMPTY
    return plan.n * passes
