"""Items -> what was begun with each, in order; some are begun before the results of those before are asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from genoconv.errors import Interrupted

Item = TypeVar("Item")
Begun = TypeVar("Begun")


def in_turn(items: Iterable[Item], begin: Callable[[Item], Begun], *, ahead: int) -> Iterator[tuple[Item, Begun]]:
    """Begin with items, up to `ahead` more than were yielded.

    Args:
        items: What is to be done.
        begin: Sets something going, without waiting for it.
        ahead: How many may be under way beside the one that is yielded.

    Raises:
        Exception: What getting or beginning an item raises, after all those begun before were yielded; but an
            interruption at once.
    """
    under_way, failure = deque[tuple[Item, Begun]](), None
    try:
        for item in items:
            under_way.append((item, begin(item)))
            if len(under_way) > ahead:
                yield under_way.popleft()
    except Interrupted:
        raise
    except Exception as error:
        failure = error
    while under_way:
        yield under_way.popleft()
    if failure is not None:
        raise failure
