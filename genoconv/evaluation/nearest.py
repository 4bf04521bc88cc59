"""Features and labels -> the label of the nearest training record, by cosine of standardised features."""

import torch
from torch import Tensor
from torch.nn import functional


def predict(features: Tensor, labels: Tensor, train: Tensor) -> Tensor:
    """Predict every record from each training set.

    Args:
        features: (n, p); mean and deviation are those of each training set.
        labels: (n,) int64.
        train: Who is learnt from, (F, n) bool.

    Returns:
        Labels, (F, 1, n) int64; of a training record its own.
    """
    found = []
    for mask in train:
        known = features[mask]
        mean, deviation = known.mean(dim=0), known.std(dim=0, correction=0)
        smallest = 1e-6 * features.abs().max().clamp_min(1e-30)
        scale = torch.where(deviation > smallest, 1 / deviation.clamp_min(smallest), 0.0)
        every = functional.normalize((features - mean) * scale, dim=1)
        found.append(labels[mask][(every @ every[mask].T).argmax(dim=1)])
    return torch.stack(found)[:, None]
