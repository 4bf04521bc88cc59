"""Units for several workers: each length goes to one of them, and none waits while there is a unit."""

import random
from collections.abc import Iterator

import numpy as np

from genoconv.inputs.fasta import Records
from genoconv.runs.sharing import AHEAD, Share
from genoconv.runs.transfers import Unit


def unit(row: int, length: int) -> Unit:
    return np.array([row]), Records([f"r{row}"], [b"A" * length])


def test_each_length_stays_with_the_worker_that_had_it_first() -> None:
    share = Share(iter([unit(row, 2048 if row % 2 else 1024) for row in range(8)]))
    taken: dict[str, list[int]] = {"a": [], "b": []}
    for _ in range(4):
        for worker, lengths in taken.items():
            given = share.take(worker)
            assert given is not None
            lengths.append(len(given[1][0]))
    assert taken == {"a": [1024] * 4, "b": [2048] * 4}
    assert share.take("a") is None


def test_nobody_waits_and_nothing_is_lost() -> None:
    rows = 200
    share = Share(iter([unit(row, 4096 if row < 150 else 300) for row in range(rows)]))
    choose, seen = random.Random(1), list[int]()
    while (given := share.take(choose.choice("abc"))) is not None:
        seen.append(int(given[0][0]))
        share.refill()
    assert sorted(seen) == list(range(rows))
    assert {place for place, row in enumerate(seen) if row >= 150} <= set(range(150 - AHEAD, rows))


def test_units_are_asked_for_only_as_far_as_they_are_looked_at() -> None:
    asked = list[int]()

    def units() -> Iterator[Unit]:
        for row in range(100):
            asked.append(row)
            yield unit(row, 500)

    share = Share(units())
    assert len(asked) == AHEAD
    share.take("a")
    assert len(asked) == AHEAD
    share.refill()
    assert len(asked) == AHEAD + 1
