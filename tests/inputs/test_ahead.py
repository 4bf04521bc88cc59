"""What is made ahead comes in order, no further ahead than one, and fails where it would have come."""

import threading
from collections.abc import Iterator

import pytest

from genoconv.inputs.ahead import ahead


def test_the_next_item_is_made_while_one_is_used() -> None:
    made = [threading.Event() for _ in range(5)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    seen = ahead(items())
    assert next(seen) == 0
    assert made[1].wait(10)
    assert not made[2].wait(0.2)
    assert list(seen) == [1, 2, 3, 4]
    assert list(ahead(iter(()))) == []


def test_a_failure_comes_after_what_was_made_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("damaged")

    seen = ahead(items())
    assert [next(seen), next(seen)] == [1, 2]
    with pytest.raises(ValueError, match="damaged"):
        next(seen)


def test_who_stops_early_waits_for_one_item_at_most() -> None:
    made: list[int] = []
    seen = ahead(made.append(number) or number for number in range(1000))  # type: ignore[func-returns-value]
    assert next(seen) == 0
    seen.close()
    assert made in ([0], [0, 1])
