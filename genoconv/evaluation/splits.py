"""From labels and groups to who learns and who is judged: folds, and folds within them to choose settings by."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

INNER_FOLDS = 3
"""Parts of the training records that settings are chosen by."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Split:
    """Fits to make: of each of O folds one on all its training records, and `INNER_FOLDS` on parts of these.

    Attributes:
        train: Who each fit learns from, (O, 1 + INNER_FOLDS, n); first the fit on all of them.
        judged: Whom it is judged on, the same shape; none of them is in `train`, nor shares a group with one that is.
    """

    train: Mask
    judged: Mask


def assign(labels: NDArray[Any], groups: NDArray[Any], folds: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Deal groups to folds so that each fold has like numbers of every label.

    Args:
        labels: (n,).
        groups: (n,); a group is never divided.
        folds: How many.
        seed: Of the order among groups of the same size.

    Returns:
        The fold of each record, (n,).
    """
    kinds, label_of = np.unique(labels, return_inverse=True)
    names, group_of = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), len(kinds)))
    np.add.at(counts, (group_of, label_of), 1)
    totals = counts.sum(axis=0)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    held, fold_of_group = np.zeros((folds, len(kinds))), np.zeros(len(names), dtype=np.int64)
    for group in order.tolist():
        # What the sum of squared shares would grow by; among equals the fold with the fewest records.
        growth = ((2 * held + counts[group]) * counts[group] / totals**2).sum(axis=1)
        fold = int(np.lexsort((held.sum(axis=1), np.round(growth, 12)))[0])
        held[fold] += counts[group]
        fold_of_group[group] = fold
    return fold_of_group[group_of]


def cross_validation(labels: NDArray[Any], groups: NDArray[Any], folds: int) -> Split:
    """Each fold is judged by what was learnt from the others."""
    fold = assign(labels, groups, folds)
    return _nested(labels, groups, [fold != number for number in range(folds)])


def held_out(labels: NDArray[Any], groups: NDArray[Any], train: Mask) -> Split:
    """The records that are not in `train` (n,) are judged."""
    return _nested(labels, groups, [train])


def _nested(labels: NDArray[Any], groups: NDArray[Any], outer: list[Mask]) -> Split:
    train, judged = [], []
    for mask in outer:
        rows = np.flatnonzero(mask)
        inner = np.full(len(labels), -1)
        inner[rows] = assign(labels[rows], groups[rows], INNER_FOLDS, seed=1)
        parts = range(INNER_FOLDS)
        train.append([mask, *(mask & (inner != part) for part in parts)])
        judged.append([~mask, *(inner == part for part in parts)])
    return Split(np.array(train), np.array(judged))
