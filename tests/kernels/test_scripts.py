"""Functions without Python's lock: by TorchScript in threads that are one of many, else as they are."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genoconv.kernels import scripts, torch_path
from genoconv.kernels.scripts import one_of_many, without_lock


def scripted(x: Tensor) -> tuple[Tensor, bool]:
    return x + 1, torch.jit.is_scripting()  # type: ignore[attr-defined]


def by_one_of_many(work: Callable[[], object]) -> None:
    def begin() -> None:
        one_of_many()
        work()

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()


def test_only_threads_that_are_one_of_many_run_a_script() -> None:
    function, found = without_lock(scripted), []
    one = threading.Thread(target=lambda: found.append(function(torch.zeros(1))))
    one.start()
    one.join()
    by_one_of_many(lambda: found.append(function(torch.zeros(1))))
    found.append(function(torch.zeros(1)))
    assert [told for _, told in found] == [False, True, False]
    assert all(y.item() == 1.0 for y, _ in found)


def test_a_torch_without_torchscript(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.jit, "script")
    function, found = without_lock(scripted), []
    by_one_of_many(lambda: found.append(function(torch.zeros(1))))
    assert not found[0][1]


def test_a_torch_that_cannot_read_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("unknown operator")

    monkeypatch.setattr(torch.jit, "script", refuse)
    function, found = without_lock(scripted), []
    by_one_of_many(lambda: found.append(function(torch.zeros(1))))
    assert not found[0][1]


def test_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    real = scripts._script

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        compiled.append(function)
        return real(function)

    monkeypatch.setattr(scripts, "_script", counted)
    function = without_lock(scripted)
    for _ in range(3):
        by_one_of_many(lambda: function(torch.zeros(1)))
    assert compiled == [scripted]


def test_errors_are_torchs() -> None:
    function, found = without_lock(scripted_sum), []

    def work() -> None:
        with pytest.raises(RuntimeError, match="must match"):
            function(torch.zeros(2), torch.zeros(3))
        found.append(True)

    by_one_of_many(work)
    assert found == [True]


def scripted_sum(x: Tensor, y: Tensor) -> Tensor:
    return x + y


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("rows", "length", "taps"), [(1, 1000, 1000), (9, 60, 60), (2, 5000, 4096), (3, 700, 8)])
def test_convolutions_are_the_same(rows: int, length: int, taps: int, gated: bool) -> None:
    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))

    u, filters, skip = draw(rows, 6, length), draw(6, taps), draw(6)
    gate = draw(rows, 6, length) if gated else None
    plain, found = torch.empty_like(u), torch.empty_like(u)
    torch_path.convolve_taps(u, filters, skip, gate, gate, plain)
    by_one_of_many(lambda: torch_path.convolve_taps(u, filters, skip, gate, gate, found))
    assert torch.equal(plain, found)
