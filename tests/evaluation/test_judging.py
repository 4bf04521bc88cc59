"""What is chosen is chosen by training records alone."""

import numpy as np
import pytest
import torch
from torch import Tensor

from genoconv.evaluation.judging import Judge
from genoconv.evaluation.splits import cross_validation

LABELS = np.arange(60) % 2
SPLIT = cross_validation(LABELS, np.arange(60), 3)


def threshold(features: Tensor, labels: Tensor, train: Tensor) -> Tensor:
    """A method without learning, of two settings: the first says always 0, the second reads the feature."""
    says = (features[:, 0] > 0.5).long().expand(len(train), -1)
    return torch.stack([torch.zeros_like(says), says], dim=1)


def judge() -> Judge:
    return Judge(LABELS, SPLIT, threshold, torch.device("cpu"))


def column(right: np.ndarray) -> np.ndarray:
    """A feature that tells the label of some records, and misleads about the others."""
    return np.where(right, LABELS, 1 - LABELS).astype(np.float32)[:, None]


def test_the_candidate_is_the_best_of_its_fold_s_training_records() -> None:
    fold = SPLIT.judged[:, 0]
    found = judge()
    # Each knows all but one fold: where that one is judged it looks perfect, and is not.
    for number in range(3):
        found.add(f"all but {number}", column(~fold[number]))
    found.add("nine of ten", column(np.arange(60) % 10 != 0))
    verdict = found.verdict([f"all but {number}" for number in range(3)] + ["nine of ten"])
    assert verdict.chosen == ["all but 0", "all but 1", "all but 2"]
    assert verdict.accuracy == 0
    alone = found.verdict(["nine of ten"])
    assert alone.accuracy == pytest.approx(0.9)
    assert alone.error == pytest.approx((0.9 * 0.1 / 60) ** 0.5)
    assert alone.commonest == "nine of ten"
    assert verdict.commonest == "all but 0 (1 of 3 folds)"


def test_what_each_fold_chose_is_joined_in_that_fold_only() -> None:
    found = judge()
    matrices = {"a": column(np.ones(60, dtype=bool)), "b": column(np.zeros(60, dtype=bool))}
    joined = found.joined(["a", "a", "b"], matrices, np.zeros((60, 2), dtype=np.float32))
    assert joined.chosen == ["a + more", "a + more", "b + more"]
    last = SPLIT.judged[2, 0].sum()
    # In the last fold the feature misleads, so the setting that says always 0 is taken there.
    assert joined.accuracy == pytest.approx((60 - last + (LABELS[SPLIT.judged[2, 0]] == 0).sum()) / 60)
