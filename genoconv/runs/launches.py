"""Items -> what was begun with each, in order; some are begun before the results of those before are asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from genoconv.errors import Interrupted

Item = TypeVar("Item")
Begun = TypeVar("Begun")


def in_turn(
    items: Iterable[Item], begin: Callable[[Item], Begun], enough: Callable[[Sequence[Item]], bool]
) -> Iterator[tuple[Item, Begun]]:
    """Begin with items before those are yielded that were begun earlier.

    Args:
        items: What is to be done.
        begin: Sets something going, without waiting for it.
        enough: Whether so many items, of which the first is yielded next, are enough to be under way; of none, never.

    Raises:
        Exception: What getting or beginning an item raises, after all those begun before were yielded; but an
            interruption at once.
    """
    under_way, failure = deque[tuple[Item, Begun]](), None
    try:
        for item in items:
            under_way.append((item, begin(item)))
            while under_way and enough([item for item, _ in under_way]):
                yield under_way.popleft()
    except Interrupted:
        raise
    except Exception as error:
        failure = error
    while under_way:
        yield under_way.popleft()
    if failure is not None:
        raise failure
