"""Items that are being made -> the same items, each made in a thread while the one before it is used."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Generator[Item]:
    """Yield all items in order; the next one is made meanwhile, and no more than that.

    Raises:
        Exception: What making an item raises is raised where the item would have been yielded.
    """
    end = object()
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(next, items, end)
        while True:
            item = coming.result()
            if item is end:
                return
            coming = beside.submit(next, items, end)
            yield item  # type: ignore[misc]
