"""From packed tokens to training batches; a batch depends on the seed and its number alone, so any can be redone."""

import functools

import numpy as np
from numpy.typing import NDArray

from genoconv.errors import InputError
from genoconv.inputs.tokens import reverse_complement


class WindowSampler:
    """Windows of context + 1 tokens, every place once an epoch, in an order and at an offset that change by epoch.

    Attributes:
        windows: Windows a batch.
    """

    def __init__(
        self,
        tokens: NDArray[np.uint8],
        *,
        context: int,
        batch: int,
        seed: int,
        both_strands: bool,
    ) -> None:
        """Prepare to draw.

        Args:
            tokens: Packed tokens, (T,).
            context: Tokens that the model sees at once; a window holds one more.
            batch: Windows a batch.
            seed: Decides everything.
            both_strands: Turn half the windows, chosen at random, into their reverse complements.

        Raises:
            InputError: There is not a single window.
        """
        if len(tokens) < context + 1:
            raise InputError(
                f"the training data has {len(tokens):,} tokens, fewer than one window of {context + 1:,}",
                fix="give more sequence or a shorter --context",
            )
        self._tokens = tokens
        self._context = context
        self.windows = batch
        self._seed = seed
        self._both_strands = both_strands
        # The offset is at most one window, so this many fit at any offset (at least one).
        self._slack = min(context, len(tokens) - context)
        self._count = (len(tokens) - self._slack) // context
        self._plan = functools.lru_cache(maxsize=2)(self._plan_epoch)

    def _plan_epoch(self, epoch: int) -> tuple[int, NDArray[np.int64], NDArray[np.bool_]]:
        """Offset, order of the windows and which of them are turned, for one epoch."""
        random = np.random.Generator(np.random.Philox(key=[self._seed, (self._context << 32) + epoch]))
        offset = int(random.integers(0, self._slack))
        return offset, random.permutation(self._count), random.random(self._count) < 0.5

    def batch(self, number: int, which: range | None = None) -> NDArray[np.uint8]:
        """The batch of this number (from 0), or some of its windows: (windows, context + 1) uint8."""
        which = range(self.windows) if which is None else which
        rows = np.empty((len(which), self._context + 1), dtype=np.uint8)
        for row, index in enumerate(which):
            epoch, place = divmod(number * self.windows + index, self._count)
            offset, order, turned = self._plan(epoch)
            start = offset + int(order[place]) * self._context
            window = self._tokens[start : start + self._context + 1]
            rows[row] = reverse_complement(window) if self._both_strands and turned[place] else window
        return rows
