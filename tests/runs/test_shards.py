"""Which shard a process is, as told by hand, Slurm and torchrun; and the shares themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genoconv.errors import UsageError
from genoconv.inputs.batches import plan_units
from genoconv.runs.shards import Shard, deal, local_rank, read_shard, shard_of_environment, undivided


def array(number: int, count: int, first: int, last: int, step: int = 1) -> dict[str, str]:
    values = {"ID": number, "COUNT": count, "MIN": first, "MAX": last, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (array(0, 4, 0, 3), "1/4"),
        (array(3, 4, 0, 3), "4/4"),
        (array(4, 3, 1, 7, 3), "2/3"),
        (array(7, 3, 1, 7, 3), "3/3"),
        (array(5, 1, 5, 5), "1/1"),
        ({**array(2, 2, 1, 2), "SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, "5/6"),
        ({**array(2, 2, 1, 2), "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, "2/2"),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, "3/4"),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "4"}, "3/4"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "1/2"),
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, "2/2"),
    ],
    ids=str,
)
def test_batch_systems(environment: dict[str, str], expected: str) -> None:
    assert str(shard_of_environment(environment)) == expected


@pytest.mark.parametrize(
    ("environment", "who"),
    [
        (array(2, 4, 1, 4), "a Slurm array"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "torchrun"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, "srun"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, ""),  # the script of a job: there is one of it
        (array(1, 1, 1, 1), ""),
        ({}, ""),
    ],
    ids=str,
)
def test_who_starts_several_processes_that_divide_nothing(environment: dict[str, str], who: str) -> None:
    assert undivided(environment) == who


@pytest.mark.parametrize(
    "environment",
    [{}, array(5, 3, 1, 6), array(2, 3, 1, 7, 3), {"RANK": "one", "WORLD_SIZE": "2"}, {"SLURM_NTASKS": "3"}],
    ids=str,
)
def test_what_makes_no_shards_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        shard_of_environment(environment)


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "a/b", "1/2/3", "-1/2", "1/0"])
def test_a_shard_is_one_of_so_many(text: str) -> None:
    with pytest.raises(UsageError):
        read_shard(text)


def test_shards_in_words() -> None:
    assert read_shard("3/8") == Shard(3, 8, "--shard")
    assert read_shard("auto", {"RANK": "3", "WORLD_SIZE": "8"}) == Shard(4, 8, "torchrun")
    assert local_rank({"LOCAL_RANK": "2", "SLURM_LOCALID": "1"}) == 2
    assert local_rank({}) == 0


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=200), st.integers(1, 9), st.integers(1, 20_000))
def test_the_shares_are_disjoint_whole_and_balanced(values: list[int], count: int, budget: int) -> None:
    lengths = np.array(values)
    units = [unit for pool in plan_units(lengths, budget, lookahead_bytes=30_000) for unit in pool]
    shares = [deal(units, lengths, Shard(index, count)) for index in range(1, count + 1)]
    assert sorted(place for share in shares for place in share) == list(range(len(units)))
    costs = np.array([len(unit) * lengths[unit].max() for unit in units])
    loads = [int(costs[share].sum()) for share in shares]
    assert max(loads) - min(loads) <= costs.max()
