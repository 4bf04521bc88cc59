"""Nobody is judged by what learnt from it, nor from its group; folds are alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genoconv.evaluation.splits import assign, cross_validation, held_out


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), groups=st.integers(20, 60), folds=st.integers(2, 5))
def test_learners_and_judged_share_no_group(seed: int, groups: int, folds: int) -> None:
    rng = np.random.default_rng(seed)
    group, label = rng.integers(0, groups, 100), rng.integers(0, 3, 100)
    split = cross_validation(label, group, folds)
    assert split.train.shape == (folds, 4, 100)
    assert (split.judged[:, 0].sum(axis=0) == 1).all()
    for fold in range(folds):
        for fit in range(4):
            train, judged = split.train[fold, fit], split.judged[fold, fit]
            assert not set(group[train]) & set(group[judged])
            if fit:
                assert not (train | judged)[split.judged[fold, 0]].any()
        assert (split.judged[fold, 1:].sum(axis=0) == split.train[fold, 0]).all()


def test_folds_have_like_numbers_of_every_label() -> None:
    label = np.array(["a"] * 30 + ["b"] * 60)
    fold = assign(label, np.arange(90), 5)
    for kind, count in (("a", 6), ("b", 12)):
        assert np.bincount(fold[label == kind]).tolist() == [count] * 5
    assert np.array_equal(fold, assign(label, np.arange(90), 5))


def test_a_test_set_is_judged_and_never_learnt_from() -> None:
    label, train = np.arange(20) % 2, np.arange(20) < 15
    split = held_out(label, np.arange(20), train)
    assert np.array_equal(split.judged[0, 0], ~train)
    assert not split.train[:, :, 15:].any()
    assert not split.judged[0, 1:, 15:].any()


@pytest.mark.parametrize("folds", [2, 5])
def test_a_large_group_is_not_divided(folds: int) -> None:
    group = np.array([0] * 50 + list(range(1, 51)))
    assert len(set(assign(np.zeros(100), group, folds)[:50])) == 1
