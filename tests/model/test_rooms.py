"""Room for large tensors: it is as torch's own, outlives the name it had, and is given back."""

import mmap
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from genoconv.model.rooms import large_room

MANY = 1 << 24
"""Numbers whose room is no part of a heap."""


def resident() -> int:
    """MiB that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE >> 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(0, 5), (3, 5), (2, 1000, 300), (1, 1 << 20)], ids=str)
def test_a_tensor_as_torch_makes_it(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    like = torch.empty(1, dtype=dtype)
    room, expected = large_room(like, *shape), like.new_empty(shape)
    assert (room.shape, room.stride(), room.dtype) == (expected.shape, expected.stride(), expected.dtype)
    numbers = torch.arange(room.numel(), dtype=dtype).view(shape)
    assert torch.equal(room.copy_(numbers), numbers)


def test_a_view_keeps_the_room() -> None:
    view = large_room(torch.empty(1), 2, MANY).fill_(3.0)[1, 5:]
    others = large_room(torch.empty(1), 2, MANY).fill_(4.0)
    assert view.min() == view.max() == 3.0
    assert others.min() == others.max() == 4.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_room_is_given_back() -> None:
    before = resident()
    room = large_room(torch.empty(1), MANY).fill_(1.0)
    assert resident() - before >= 60
    del room
    assert resident() - before < 8


@pytest.mark.parametrize("obstacle", ["another system", "no memory for it", "no huge pages"])
def test_without_it_there_is_room_too(obstacle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mapped(mmap.mmap):
        def __new__(cls, *arguments: Any, **named: Any) -> "Mapped":
            if obstacle == "no memory for it":
                raise OSError(12, "Cannot allocate memory")
            assert obstacle == "no huge pages"
            return super().__new__(cls, *arguments, **named)

        def madvise(self, *_: int) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Mapped)
    if obstacle == "another system":
        monkeypatch.setattr(sys, "platform", "darwin")
    room = large_room(torch.empty(1), 3, MANY // 4)
    assert room.fill_(2.0).sum() == 6.0 * (MANY // 4)
