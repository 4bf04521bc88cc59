"""What is begun before the results of what came before are asked for: how much, in which order, and failures."""

import signal
from collections.abc import Callable, Iterator, Sequence

import pytest

from genoconv.errors import InputError, Interrupted
from genoconv.runs.launches import in_turn


def more_than(ahead: int) -> Callable[[Sequence[object]], bool]:
    return lambda under_way: len(under_way) > ahead


@pytest.mark.parametrize(("ahead", "expected"), [(0, "aAbBcCdD"), (1, "abAcBdCD"), (2, "abcAdBCD"), (9, "abcdABCD")])
def test_so_many_are_begun_before_the_first_is_yielded(ahead: int, expected: str) -> None:
    seen = list[str]()

    def begin(item: str) -> str:
        seen.append(item)
        return item.upper()

    for item, begun in in_turn("abcd", begin, more_than(ahead)):
        assert begun == item.upper()
        seen.append(begun)
    assert "".join(seen) == expected


def test_so_many_are_yielded_that_what_is_under_way_is_not_enough() -> None:
    begun = list[int]()
    found = []
    for item, _ in in_turn([1, 1, 5, 1, 1], begun.append, lambda under_way: sum(under_way[1:]) >= 3):
        found.append((item, len(begun)))
    assert found == [(1, 3), (1, 3), (5, 5), (1, 5), (1, 5)]


def broken(error: Exception) -> Iterator[int]:
    yield from range(3)
    raise error


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_what_was_begun_before_a_failure_is_yielded_first(ahead: int) -> None:
    found = list[int]()
    with pytest.raises(InputError, match="damaged"):
        found.extend(item for item, _ in in_turn(broken(InputError("damaged")), str, more_than(ahead)))
    assert found == [0, 1, 2]


def test_nothing_that_is_under_way_is_waited_for_when_a_signal_comes() -> None:
    found = list[int]()
    with pytest.raises(Interrupted):
        found.extend(item for item, _ in in_turn(broken(Interrupted(signal.SIGTERM)), str, more_than(2)))
    assert found == [0]
