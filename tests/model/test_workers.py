"""Sharing out work: everything is done once, by threads of one core each, and torch's own setting survives."""

import threading
from collections.abc import Iterator

import pytest
import torch

from genoconv.model.workers import Workers

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_item_once(threads: int) -> None:
    done: list[int] = []
    with Workers(CPU) as workers:
        assert workers.count == threads
        workers.each(done.append, range(100))
        assert sorted(done) == list(range(100))
        workers.each(done.append, [])
    assert len(done) == 100


def test_each_thread_computes_with_one_core(threads: int) -> None:
    found: set[tuple[int, int]] = set()
    meeting = threading.Barrier(threads)

    def work(_: int) -> None:
        meeting.wait(10)
        torch.ones(10).sum()
        found.add((threading.get_ident(), torch.get_num_threads()))

    with Workers(CPU) as workers:
        workers.each(work, range(threads))
    assert {number for _, number in found} == {1}
    assert len(found) == threads
    assert torch.get_num_threads() == threads


def test_new_threads_of_others_are_not_held_to_one_core(threads: int) -> None:
    found: list[int] = []
    with Workers(CPU):
        other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        other.start()
        other.join()
    assert found == [threads]


def test_a_gpu_is_driven_by_the_caller(threads: int) -> None:
    found: list[int] = []
    with Workers(torch.device("cuda")) as workers:
        workers.each(lambda _: found.append(threading.get_ident()), range(3))
    assert found == [threading.get_ident()] * 3


def test_failure_is_told_and_ends_the_work(threads: int) -> None:
    def work(item: int) -> None:
        if item == 5:
            raise MemoryError("no room")

    with Workers(CPU) as workers, pytest.raises(MemoryError, match="no room"):
        workers.each(work, range(1000))


@pytest.mark.parametrize("inference", [True, False])
def test_no_gradients_and_the_callers_inference_mode(threads: int, inference: bool) -> None:
    found: set[tuple[bool, bool]] = set()
    with torch.inference_mode(inference), Workers(CPU) as workers:
        workers.each(lambda _: found.add((torch.is_grad_enabled(), torch.is_inference_mode_enabled())), range(9))
    assert found == {(False, inference)}


def test_beside_the_others(threads: int) -> None:
    here, found = threading.get_ident(), list[tuple[int, int, bool]]()

    def work() -> str:
        found.append((threading.get_ident(), torch.get_num_threads(), torch.is_grad_enabled()))
        return "done"

    with Workers(CPU) as workers:
        results = [workers.aside(work) for _ in range(3)]
        assert [result() for result in results] == ["done"] * 3
    assert len(set(found)) == 1
    ident, cores, gradients = found[0]
    assert (ident == here) == (threads == 1)
    assert (cores, gradients) == (1, False)
    assert torch.get_num_threads() == threads


def test_failure_beside_the_others_is_told_to_who_waits(threads: int) -> None:
    def work() -> None:
        raise MemoryError("no room")

    with Workers(CPU) as workers, pytest.raises(MemoryError, match="no room"):
        workers.aside(work)()


def test_threads_end_with_the_context(threads: int) -> None:
    before = threading.active_count()
    with Workers(CPU) as workers:
        workers.each(id, range(9))
        assert threading.active_count() == before + (threads + 1 if threads > 1 else 0)
    assert threading.active_count() == before
