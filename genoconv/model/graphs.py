"""Passes over batches of one shape, recorded as CUDA graphs: token ids -> states without a gap between kernels.

Of a small batch, launching the kernels one by one takes longer than running them. A shape that comes again is therefore
recorded, and from then on replayed: the same kernels on the same memory, hence the same numbers.

Width 256, 8 layers, one NVIDIA H200, PyTorch 2.11: 8 rows of 1,024 bases took 3.26 ms, replayed 0.88 (its kernels alone
0.62); 64 rows 3.80 and 3.39 (3.10); 4 rows of 32,768 bases 8.17 and 7.76 (7.38).
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from genoconv.kernels.devices import on_device_of
from genoconv.kernels.monarch import tables

LARGEST = 1 << 18
"""Padded positions of a batch up to which passes are recorded: in larger ones a GPU never waits for a launch."""

BUDGET = 2 << 30
"""Bytes of the recordings that are kept for one model, where memory is plenty."""

USES_BEFORE = 2
"""Batches of a shape before it is recorded, which takes as long as three to five of them (9 to 25 ms)."""

USES_BEFORE_AGAIN = 100
"""The same for a shape whose recording had to go."""

_COUNTED = 1024

_log = logging.getLogger(__name__)


class States(NamedTuple):
    """What a pass gives, one after the other.

    Attributes:
        layer: From 0.
        hidden: Its states (B, row, d) float32; the next pass overwrites them.
        bad: Not 0 where numbers are not finite, int32 of any shape; None if they cannot be.
    """

    layer: int
    hidden: Tensor
    bad: Tensor | None


Passes = Callable[[Tensor], Iterator[States]]
"""Token ids (B, L) -> states of one layer after the other; never waits for the device."""


class Kept(Protocol):
    """Something that takes memory, and reads what others hold."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""

    @property
    def reads(self) -> Sequence[object]:
        """What must stay where it is."""


Held = TypeVar("Held", bound=Kept)


class Shelf(Generic[Held]):
    """Recordings by shape, the last used ones within a budget of bytes; and how often shapes have come that have none.

    Attributes:
        budget: Bytes of all recordings; 0: none are made.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self._held: OrderedDict[Hashable, Held] = OrderedDict()
        self._left: OrderedDict[Hashable, int] = OrderedDict()  # uses before the one at which a shape is recorded

    @property
    def nbytes(self) -> int:
        """Bytes of all recordings."""
        return sum(held.nbytes for held in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def find(self, shape: Hashable) -> Held | None:
        """The recording of a shape."""
        if shape in self._held:
            self._held.move_to_end(shape)
        return self._held.get(shape)

    def due(self, shape: Hashable) -> bool:
        """Counts one more use of a shape without a recording; whether it has come often enough to be given one."""
        left = self._left.pop(shape, USES_BEFORE)
        self._left[shape] = left - 1
        if len(self._left) > _COUNTED:
            self._left.popitem(last=False)
        return self.budget > 0 and left == 0

    def keep(self, shape: Hashable, held: Held) -> None:
        """Takes a recording in; those used longest ago go where it needs their room."""
        while self._held and self.nbytes + held.nbytes > self.budget:
            self._forget(next(iter(self._held)))
        if held.nbytes <= self.budget:
            self._held[shape] = held

    def drop(self, read: object) -> None:
        """Forgets the recordings that read something."""
        for shape in [shape for shape, held in self._held.items() if any(read is other for other in held.reads)]:
            self._forget(shape)

    def clear(self) -> None:
        """Forgets all recordings."""
        self._held.clear()
        self._left.clear()

    def _forget(self, shape: Hashable) -> None:
        """It may come back, but not so soon that more time is spent on recording than is gained."""
        del self._held[shape]
        self._left[shape] = USES_BEFORE_AGAIN


class Recording:
    """The passes over batches of one shape on a GPU.

    Args:
        passes: What is recorded; called three times.
        ids: Token ids (B, L) of any integer type on a CUDA device.
        count: States that the passes give.
        reads: What they read that others hold, and that must stay where it is: it does as long as this recording lives.

    Attributes:
        nbytes: Bytes that the recording takes from the device.
        reads: As given.
        busy: Somebody has taken some of the states of a replay, but not yet all.
    """

    def __init__(self, passes: Passes, ids: Tensor, *, count: int, reads: Sequence[object]) -> None:
        self.busy = False
        device = ids.device
        with torch.inference_mode(False), torch.no_grad(), on_device_of(ids):
            self._ids = ids.to(torch.int64, copy=True)
            stream = _beside(device)
            stream.wait_stream(torch.cuda.current_stream(device))
            with tables.handed_out() as used, torch.cuda.stream(stream):
                deque(passes(self._ids), maxlen=0)  # makes what is made at first use, which is not to be recorded
            self.reads: Sequence[object] = [*reads, used]
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
            before = torch.cuda.memory_reserved(device)
            with torch.cuda.stream(stream):
                self._pieces = list(_record(passes(self._ids), count))
            self.nbytes = torch.cuda.memory_reserved(device) - before

    def replay(self, ids: Tensor) -> Iterator[States]:
        """The states of other token ids of that shape; they stay as they are, unlike those of the passes themselves."""
        self.busy, left = True, len(self._pieces)
        try:
            self._ids.copy_(ids)
            for graph, states in self._pieces:
                graph.replay()
                left -= 1
                self.busy = left > 0
                yield states._replace(
                    hidden=states.hidden.clone(), bad=None if states.bad is None else states.bad.clone()
                )
        finally:
            if left:
                self.busy = False


@lru_cache(maxsize=64)
def _beside(device: torch.device) -> torch.cuda.Stream:
    """The stream on which all is recorded: cuBLAS takes a workspace for each stream, and keeps it."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _record(states: Iterator[States], count: int) -> Iterator[tuple[torch.cuda.CUDAGraph, States]]:
    """One graph for what leads to each of the states, all in the same memory."""
    pool = torch.cuda.graph_pool_handle()
    for _ in range(count):
        graph = torch.cuda.CUDAGraph()
        # Other threads go on using the device meanwhile: they copy to it, and take pinned memory.
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            found = next(states)
        finally:
            graph.capture_end()
        yield graph, found


def recorded(passes: Passes, ids: Tensor, *, count: int, reads: Sequence[object]) -> Recording | None:
    """A recording, or None where that fails: the run goes on without."""
    try:
        return Recording(passes, ids, count=count, reads=reads)
    except (RuntimeError, StopIteration) as error:
        _log.debug("batches of %s are not recorded: %s", tuple(ids.shape), error)
        return None
