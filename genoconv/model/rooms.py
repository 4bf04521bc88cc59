"""A shape -> room for a large tensor: on Linux in memory of its own, which is given back when the tensor is gone."""

import math
import mmap
import sys
from contextlib import suppress

import torch
from torch import Tensor

# Bytes from which on a tensor has memory of its own: a huge page.
_LARGE = 2 << 20


def large_room(like: Tensor, *shape: int) -> Tensor:
    """A tensor of some shape, of the type and on the device of another; its numbers mean nothing.

    What a thread frees otherwise stays in its heap, where only its next pieces can use it. In huge pages, where Linux
    has them, a batch of 32,768 bases causes 3,000 page faults instead of 29,000.
    """
    count = math.prod(shape)
    if not like.is_cpu or count * like.element_size() < _LARGE or sys.platform != "linux":
        return like.new_empty(shape)
    try:
        room = mmap.mmap(-1, count * like.element_size(), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:  # there is no memory: as torch says it
        return like.new_empty(shape)
    with suppress(OSError):  # a Linux without huge pages
        room.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(room, dtype=like.dtype, count=count).view(shape)
