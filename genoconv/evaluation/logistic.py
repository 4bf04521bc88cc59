"""Features and labels -> logistic regressions for many training sets and strengths at once -> predicted labels.

Minimises, for weights B (p, K) and offsets b of standardised features z,

    mean over the training records of  -log softmax(z B + b)[label]  +  strength / 2 * |B|^2

by accelerated gradient steps in the metric of the bound H <= (Z'Z / n) / 2 + strength of the Hessian (Boehning 1992,
Ann. Inst. Stat. Math. 44), restarted where they turn uphill (O'Donoghue and Candes 2015, Found. Comput. Math. 15). One
factorisation for each training set and strength, then products of matrices: all fits go side by side, on a GPU too.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from genoconv.model.workers import Workers

STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Of the regularisation; the one that is used is chosen on training records."""

MOST_STEPS, TOLERANCE = 400, 1e-4

Downhill = Callable[[tuple[Tensor, Tensor]], tuple[Tensor, Tensor, Tensor, Tensor]]
"""A point -> slope and step of the weights, slope and step of the offsets."""

ROOM_BYTES = {"cpu": 1 << 28, "cuda": 1 << 34}
"""Memory for features and factors of the fits that go side by side."""


def predict(features: Tensor, labels: Tensor, train: Tensor, *, strengths: tuple[float, ...] = STRENGTHS) -> Tensor:
    """Fit on each training set, and predict every record.

    Args:
        features: (n, p), not standardised: mean and deviation are those of each training set.
        labels: (n,) int64, from 0 to K - 1.
        train: Who is learnt from, (F, n) bool.
        strengths: S numbers.

    Returns:
        Labels, (F, S, n) int64.
    """
    p, S, K = min(features.shape), len(strengths), int(labels.max()) + 1
    size = 4 * (2 * features.numel() + 2 * S * p * p + 3 * len(labels) * S * K)
    found: dict[int, Tensor] = {}
    with Workers(features.device) as workers:
        most = ROOM_BYTES[features.device.type] // (size * workers.count)
        step = max(1, min(most, -(-len(train) // workers.count)))

        def fit(first: int) -> None:
            found[first] = _predict(features, labels, train[first : first + step], strengths, K)

        workers.each(fit, range(0, len(train), step))
    return torch.cat([found[first] for first in sorted(found)])


def _predict(features: Tensor, labels: Tensor, train: Tensor, strengths: tuple[float, ...], K: int) -> Tensor:
    F, n, S = len(train), len(labels), len(strengths)
    weight = train.float() / train.sum(dim=1, keepdim=True)  # (F, n)
    z = _fewest_columns(_standardised(features, weight))  # (F, n, min(n, p))
    weight = weight[:, :, None, None]
    wanted = torch.nn.functional.one_hot(labels, K).to(z)[:, None]  # (n, 1, K)
    strength = z.new_tensor(strengths)
    inverse = _inverse_bound(z, weight[..., 0], strength)  # (F, S, p, p)

    def downhill(point: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        B, b = point
        logits = (z @ B.flatten(2)).view(F, n, S, K) + b
        residual = (logits.softmax(dim=-1) - wanted) * weight
        slope = (z.mT @ residual.flatten(2)).view(F, -1, S, K) + strength[:, None] * B  # (F, p, S, K)
        flat = residual.sum(dim=1, keepdim=True)
        return slope, torch.einsum("fspq,fqsk->fpsk", inverse, slope), flat, 2 * flat

    zero = z.new_zeros(F, z.shape[2], S, K), z.new_zeros(F, 1, S, K)
    B, b = _accelerated(zero, downhill)
    logits = (z @ B.flatten(2)).view(F, n, S, K) + b
    return logits.argmax(dim=-1).permute(0, 2, 1)


def _standardised(features: Tensor, weight: Tensor) -> Tensor:
    """Features (F, n, p) of mean 0 and deviation 1 over the training records; what does not vary there becomes 0."""
    mean = weight @ features  # (F, p)
    centred = features - mean[:, None]
    deviation = (weight[:, None] @ centred.square()).sqrt()  # (F, 1, p)
    smallest = 1e-6 * features.abs().max().clamp_min(1e-30)
    return torch.where(deviation > smallest, centred / deviation.clamp_min(smallest), 0.0)


def _fewest_columns(z: Tensor) -> Tensor:
    """The same records in n coordinates if there are more columns than records: every fit stays what it is.

    Weights are a sum of records, so only the records' products with each other matter, and these are kept.
    """
    if z.shape[2] <= z.shape[1]:
        return z
    sizes, vectors = torch.linalg.eigh((z @ z.mT).double())
    coordinates: Tensor = vectors * sizes.clamp_min(0)[:, None].sqrt()
    return coordinates.float()


def _inverse_bound(z: Tensor, weight: Tensor, strength: Tensor) -> Tensor:
    """Inverses of the bounds of the Hessian for each training set and strength, (F, S, p, p)."""
    gram = (z * weight).mT @ z / 2
    bound = gram[:, None] + strength[:, None, None] * torch.eye(z.shape[2], device=z.device)
    return torch.cholesky_inverse(torch.linalg.cholesky(bound))


def _accelerated(start: tuple[Tensor, Tensor], downhill: Downhill) -> tuple[Tensor, Tensor]:
    """Steps with momentum, each fit restarted by itself, until none moves by more than the tolerance."""
    B, b = start
    before, momentum = (B, b), B.new_zeros(B.shape[0], 1, B.shape[2], 1)  # (F, 1, S, 1)
    for count in range(MOST_STEPS):
        push = momentum / (momentum + 3)
        ahead = B + push * (B - before[0]), b + push * (b - before[1])
        slope, move, flat, shift = downhill(ahead)
        before, (B, b) = (B, b), (ahead[0] - move, ahead[1] - shift)
        uphill = (slope * (B - before[0])).sum(dim=(1, 3), keepdim=True)
        uphill += (flat * (b - before[1])).sum(dim=(1, 3), keepdim=True)
        momentum = torch.where(uphill > 0, 0.0, momentum + 1)
        if count % 10 == 9 and float((B - before[0]).abs().amax()) <= TOLERANCE * float(B.abs().amax()):
            break
    return B, b
