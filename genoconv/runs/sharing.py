"""Units of work -> the next one of each worker: of a length whose filters it holds already, as far as there is one."""

from collections.abc import Hashable, Iterator

from genoconv.model.spectra import round_length
from genoconv.runs.transfers import Unit

AHEAD = 16
"""Units that are looked at: so far from the longest first may a worker stray."""


class Share:
    """Units on their way to several workers.

    For each rounded length a worker makes the spectra of all filters, which takes as long as two batches, and memory.
    So the first worker that computes a length has it from then on, and others take its units only rather than wait.

    Args:
        units: All units, longest first in each pool.
    """

    def __init__(self, units: Iterator[Unit]) -> None:
        self._units = units
        self._waiting: list[tuple[int, Unit]] = []
        self._holder: dict[int, Hashable] = {}
        self.refill()

    def refill(self) -> None:
        """Gets hold of the next units; may wait for the input to be read."""
        while len(self._waiting) < AHEAD and (unit := next(self._units, None)) is not None:
            self._waiting.append((round_length(max(map(len, unit[1].sequences))), unit))

    def take(self, worker: Hashable) -> Unit | None:
        """The next unit for a worker; None when there are no more."""
        if not self._waiting:
            return None
        kinds = [kind for kind, _ in self._waiting]
        own = (place for place, kind in enumerate(kinds) if self._holder.get(kind) == worker)
        free = (place for place, kind in enumerate(kinds) if kind not in self._holder)
        kind, unit = self._waiting.pop(next(own, next(free, 0)))
        self._holder.setdefault(kind, worker)
        return unit
