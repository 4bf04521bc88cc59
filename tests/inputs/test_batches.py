"""Batches: every record once, within the budget, little padding."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genoconv.errors import UsageError
from genoconv.inputs.batches import FIRST_SHARE, RECORD_BYTES, padding_waste, plan_batches, plan_units
from genoconv.inputs.letters import LetterPolicy
from genoconv.inputs.scan import scan
from genoconv.runs.memory import SLACK, unit_budget

DATA = Path(__file__).parent.parent / "data"


@given(st.lists(st.integers(1, 10_000), max_size=200), st.integers(1, 100_000))
def test_every_record_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = plan_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
    assert padding_waste(lengths, batches) <= 0.1


def test_equal_lengths_fill_the_budget_in_input_order() -> None:
    batches = plan_batches([100] * 7, 300)
    assert [batch.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]


def test_longest_first_and_a_longer_record_is_alone() -> None:
    batches = plan_batches([50, 5000, 49, 48], 150)
    assert [batch.tolist() for batch in batches] == [[1], [0, 2, 3]]


def test_waste_counts_padded_positions() -> None:
    assert padding_waste([10, 5], [np.array([0, 1])]) == pytest.approx(0.25)
    assert padding_waste([], []) == 0


@pytest.mark.parametrize("name", ["genes.fa", "human_transcripts20.fasta.gz"])
@pytest.mark.parametrize("budget", [10_000, 100_000, 1_000_000])
def test_real_sets_waste_less_than_a_tenth(name: str, budget: int) -> None:
    lengths = scan([DATA / name], LetterPolicy()).lengths
    batches = plan_batches(lengths, budget)
    assert padding_waste(lengths, batches) < 0.1
    # Without the share of padding as a bound, one batch would hold records of very different length.
    assert padding_waste(lengths, plan_batches(lengths, 10**9, padding_share=1)) > 0.3


@pytest.mark.parametrize("name", ["genes.fa", "human_transcripts20.fasta.gz"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_wastes_less_than_a_tenth_of_real_sets(name: str, device: str) -> None:
    lengths = np.tile(scan([DATA / name], LetterPolicy()).lengths, 200)  # large enough for the units of a GPU
    pools = plan_units(lengths, unit_budget(int(lengths.sum()), torch.device(device)), slack=SLACK[device])
    assert padding_waste(lengths, chain.from_iterable(pools)) < 0.1


def test_slack_joins_small_records_of_different_length() -> None:
    lengths = [100, 60, 30, 10]
    assert len(plan_batches(lengths, 1000)) == 4
    assert [batch.tolist() for batch in plan_batches(lengths, 1000, slack=110)] == [[0, 1, 2], [3]]
    assert [batch.tolist() for batch in plan_batches(lengths, 200, slack=110)] == [[0, 1], [2, 3]]


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(UsageError):
        plan_batches([1], 0)


def test_pools_keep_the_order_and_end_with_the_record_that_reaches_the_sum() -> None:
    lengths = [1000 - RECORD_BYTES] * 20
    pools = plan_units(lengths, 100, lookahead_bytes=4000 * FIRST_SHARE // 4)
    assert [len(pool) for pool in pools] == [1, 2, 4, 8, 5]
    assert np.concatenate(list(chain.from_iterable(pools))).tolist() == list(range(20))
    assert len(plan_units(lengths, 100, lookahead_bytes=20_000)) == 1
    assert plan_units([], 100) == []


@given(st.lists(st.integers(1, 10_000), max_size=200), st.integers(1, 100_000), st.integers(1, 100_000))
def test_units_hold_every_record_once_pool_by_pool(lengths: list[int], budget: int, lookahead: int) -> None:
    pools = plan_units(lengths, budget, lookahead_bytes=lookahead)
    ends = [sorted(row for unit in pool for row in unit.tolist()) for pool in pools]
    assert [row for pool in ends for row in pool] == list(range(len(lengths)))
    assert all(sum(lengths[row] + RECORD_BYTES for row in pool[:-1]) < lookahead for pool in ends)
