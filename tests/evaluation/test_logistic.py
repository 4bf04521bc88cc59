"""Many regressions at once are those that scikit-learn finds one by one."""

import numpy as np
import pytest
import torch
from torch import Tensor

from genoconv.evaluation import logistic


def problem(classes: int, n: int = 240, p: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, n)
    features = rng.normal(size=(n, p)) @ rng.normal(size=(p, p)) * 5 + 100
    features[:, :classes] += 4 * np.eye(classes)[labels]
    train = rng.random((3, n)) < 0.7
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels), torch.from_numpy(train)


@pytest.mark.parametrize(("classes", "columns"), [(2, 12), (5, 12), (3, 300)])
def test_the_same_labels_as_scikit_learn(classes: int, columns: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features, labels, train = problem(classes, p=columns)
    found = logistic.predict(features, labels, train).numpy()
    assert found.shape == (3, len(logistic.STRENGTHS), len(labels))
    x, y = features.numpy().astype(np.float64), labels.numpy()
    for fit, mask in enumerate(train.numpy()):
        z = StandardScaler().fit(x[mask]).transform(x)
        for place, strength in enumerate(logistic.STRENGTHS):
            # Two labels are one set of weights there and two opposite ones here: half the penalty.
            inverse = (2 if classes == 2 else 1) / (strength * mask.sum())
            theirs = LogisticRegression(C=inverse, max_iter=5000, tol=1e-8).fit(z[mask], y[mask]).predict(z)
            assert (theirs != found[fit, place]).mean() <= 0.005


def test_fits_do_not_depend_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, train = problem(3)
    together = logistic.predict(features, labels, train)
    monkeypatch.setitem(logistic.ROOM_BYTES, "cpu", 1)
    assert torch.equal(logistic.predict(features, labels, train), together)
    assert torch.equal(logistic.predict(features, labels, train[1:2])[0], together[1])


def test_what_is_not_learnt_from_does_not_matter() -> None:
    features, labels, train = problem(2)
    before = logistic.predict(features, labels, train)
    changed, turned = features.clone(), labels.clone()
    hidden = torch.nonzero(~train[0])[0, 0]
    changed[hidden] += 1000
    turned[hidden] = 1 - turned[hidden]
    after = logistic.predict(changed, turned, train[:1])[0]
    others = torch.arange(len(labels)) != hidden
    assert torch.equal(after[:, others], before[0][:, others])


def test_columns_that_do_not_vary_are_harmless() -> None:
    features, labels, train = problem(2)
    more = torch.cat([features, torch.full((len(features), 3), 7.0), torch.zeros(len(features), 2)], dim=1)
    assert torch.equal(logistic.predict(more, labels, train), logistic.predict(features, labels, train))
