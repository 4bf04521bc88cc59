"""Feature matrices, labels and a split -> predictions, each by what was chosen on the training records of its fold."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genoconv.evaluation.splits import Split

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Features (n, p), labels (n,), training sets (F, n) -> labels (F, S, n) for S settings of the method."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How well the judged records were told apart.

    Attributes:
        accuracy: Share of them with the right label, 0 to 1.
        error: Its standard error, of the records as independent draws.
        chosen: The candidate that each fold chose.
    """

    accuracy: float
    error: float
    chosen: Sequence[str]

    @property
    def commonest(self) -> str:
        """The candidate that most folds chose, and how many of them did if not all."""
        name, times = Counter(self.chosen).most_common(1)[0]
        return name if times == len(self.chosen) else f"{name} ({times} of {len(self.chosen)} folds)"


@dataclass(slots=True)
class Judge:
    """Holds what was asked, and takes candidates one by one.

    Attributes:
        labels: (n,), from 0.
        split: Who learns, who is judged.
        predict: The method.
        device: Where to compute.
        trials: Of each candidate: within each fold how many training records its best setting predicted, (folds,), and
            which records that setting got right when it had learnt from all of them, (folds, n).
    """

    labels: NDArray[np.int64]
    split: Split
    predict: Predict
    device: torch.device
    trials: dict[str, tuple[NDArray[np.int64], NDArray[np.bool_]]] = field(default_factory=dict)

    def add(self, name: str, features: NDArray[np.float32], folds: Sequence[int] | None = None) -> None:
        """Try features (n, p), in all folds or in some; in others the candidate can not be chosen."""
        every = range(len(self.split.train)) if folds is None else folds
        within = np.full(len(self.split.train), -1)
        right = np.zeros((len(self.split.train), len(self.labels)), dtype=bool)
        train, judged = self.split.train[list(every)], self.split.judged[list(every)]
        fits = torch.from_numpy(train.reshape(-1, len(self.labels))).to(self.device)
        y = torch.from_numpy(self.labels).to(self.device)
        hits = (self.predict(torch.from_numpy(features).to(self.device), y, fits) == y).cpu().numpy()
        hits = hits.reshape(*train.shape[:2], -1, len(self.labels))  # (folds, fits, S, n)
        inside = (hits[:, 1:] & judged[:, 1:, None]).sum(axis=(1, 3))  # (folds, S)
        for place, fold in enumerate(every):
            best = int(inside[place].argmax())
            within[fold], right[fold] = inside[place, best], hits[place, 0, best]
        self.trials[name] = within, right

    def verdict(self, names: Sequence[str]) -> Verdict:
        """In each fold the candidate that predicts best within its training records; among equals the first."""
        counts = np.stack([self.trials[name][0] for name in names])  # (candidates, folds)
        best = counts.argmax(axis=0).tolist()
        right = np.stack([self.trials[names[choice]][1][fold] for fold, choice in enumerate(best)])
        judged = self.split.judged[:, 0]
        accuracy = float(right[judged].mean())
        error = float(np.sqrt(accuracy * (1 - accuracy) / judged.sum()))
        return Verdict(accuracy, error, [names[choice] for choice in best])

    def joined(
        self, chosen: Sequence[str], matrices: Mapping[str, NDArray[np.float32]], more: NDArray[np.float32]
    ) -> Verdict:
        """What each fold chose, with further features (n, q) beside it."""
        names = [f"{name} + more" for name in dict.fromkeys(chosen)]
        for name, joined in zip(dict.fromkeys(chosen), names, strict=True):
            folds = [fold for fold, choice in enumerate(chosen) if choice == name]
            self.add(joined, np.concatenate([matrices[name], more], axis=1), folds)
        return self.verdict(names)
