"""From the lengths of records to batches of similar length that keep within a budget of bases."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from genoconv.errors import UsageError

# Share of a batch that may be padding. 71 human transcripts of 216 to 9,404 bases with a budget of 100,000: a share of
# 0.05 makes 25 batches with 3 % padding, 0.1 makes 14 with 8 %, 0.2 makes 8 with 19 %.
PADDING_SHARE = 0.1

LOOKAHEAD_BYTES = 1 << 26
"""Records read ahead, from which batches of like length are made."""

RECORD_BYTES = 600
"""What a record takes in memory beside its sequence."""

FIRST_SHARE = 16
"""So much smaller is the first of several pools, for nothing is computed while it is read; the next ones double."""


def plan_batches(
    lengths: npt.ArrayLike, batch_bases: int, *, padding_share: float = PADDING_SHARE, slack: int = 0
) -> list[npt.NDArray[np.int64]]:
    """Group records into batches; padded to its longest record, no batch exceeds the budget.

    Batches come longest first, so that what does not fit into memory shows at once.

    Args:
        lengths: Length of each record in bases, (n,) integers.
        batch_bases: Budget: records times longest length. A record longer than that is a batch of its own.
        padding_share: Share of each batch (0 to 1) that may be padding.
        slack: Padded positions without a base that any batch may hold, whatever their share.

    Returns:
        Index arrays into `lengths`, int64; each record is in exactly one of them.

    Raises:
        UsageError: The budget is not positive.
    """
    if batch_bases < 1:
        raise UsageError(f"the base budget of a batch must be at least 1, it is {batch_bases}")
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable").astype(np.int64)
    descending = sizes[order]
    totals = np.concatenate([[0], np.cumsum(descending)])
    batches = []
    start = 0
    while start < len(order):
        longest = int(descending[start])
        most = min(len(order) - start, max(1, batch_bases // max(1, longest)))
        padded = longest * np.arange(1, most + 1)
        used = totals[start + 1 : start + most + 1] - totals[start]
        # Padding and its share only grow with each shorter record, so the last one within them ends the batch.
        count = int(np.count_nonzero(padded - used <= np.maximum(padding_share * padded, slack)))
        batches.append(order[start : start + count])
        start += count
    return batches


def padding_waste(lengths: npt.ArrayLike, batches: Iterable[npt.NDArray[np.int64]]) -> float:
    """Share of all padded positions that hold no base, 0 to 1."""
    sizes = np.asarray(lengths, dtype=np.int64)
    padded = used = 0
    for batch in batches:
        padded += len(batch) * int(sizes[batch].max())
        used += int(sizes[batch].sum())
    return 1 - used / padded if padded else 0.0


def plan_units(
    lengths: npt.ArrayLike, unit_bases: int, *, slack: int = 0, lookahead_bytes: int = LOOKAHEAD_BYTES
) -> list[list[npt.NDArray[np.int64]]]:
    """Divide a whole input, in order, into pools that fit into memory, and each pool into batches of similar length.

    The plan follows from the lengths and the budget alone: whoever plans the same input gets the same batches.

    Args:
        lengths: Length of each record in bases, (n,) integers, in input order.
        unit_bases: Padded bases of one batch.
        slack: As for `plan_batches`.
        lookahead_bytes: A pool ends with the record with which it takes so much memory; the first of several sooner.

    Returns:
        Pools of consecutive records; each a list of index arrays into `lengths`, longest batch first.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    totals = np.cumsum(sizes + RECORD_BYTES)
    several = len(sizes) > 0 and totals[-1] > lookahead_bytes
    ahead = max(1, lookahead_bytes // FIRST_SHARE) if several else lookahead_bytes
    pools = []
    first = 0
    while first < len(sizes):
        before = int(totals[first - 1]) if first else 0
        end = min(len(sizes), int(np.searchsorted(totals, before + ahead)) + 1)
        pools.append([first + batch for batch in plan_batches(sizes[first:end], unit_bases, slack=slack)])
        first, ahead = end, min(2 * ahead, lookahead_bytes)
    return pools
