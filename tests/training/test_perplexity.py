import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from genoconv.inputs.tokens import encode
from genoconv.model.config import HyenaConfig
from genoconv.training.perplexity import next_base_loss, perplexity
from genoconv.training.start import new_model

MODEL = new_model(HyenaConfig(d_model=8, n_layer=1, d_inner=16, l_max=66), 0)


def random_tokens(count: int) -> np.ndarray:
    return np.random.default_rng(0).choice([1, 7, 8, 9, 10, 11], count).astype(np.uint8)


@torch.no_grad()
def by_hand(tokens: np.ndarray, context: int) -> float:
    """One window at a time, one base at a time."""
    losses = []
    for start in range(0, len(tokens) - 1, context):
        window = torch.from_numpy(tokens[start : start + context + 1]).long()
        scores = functional.log_softmax(MODEL(window[None, :-1])[0], dim=-1)
        losses += [-float(row[base]) for row, base in zip(scores, window[1:], strict=True) if 7 <= base <= 10]
    return math.exp(sum(losses) / len(losses))


@pytest.mark.parametrize(("count", "context"), [(50, 16), (49, 16), (10, 16), (2, 5), (64, 1)])
def test_windows_cover_every_base_once(count: int, context: int) -> None:
    tokens = np.append(random_tokens(count - 1), np.uint8(7))  # at least one real target
    expected = by_hand(tokens, context)
    assert perplexity(MODEL, tokens, context=context, batch_bases=40) == pytest.approx(expected, rel=1e-5)
    assert perplexity(MODEL, tokens, context=context) == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_only_real_bases_are_targets() -> None:
    random = random_tokens(40)
    window = torch.from_numpy(random).long()[None]
    scores = functional.log_softmax(MODEL(window[:, :-1])[0], dim=-1)
    real = [i for i in range(39) if 7 <= random[i + 1] <= 10]
    expected = -sum(float(scores[i, int(random[i + 1])]) for i in real)
    assert next_base_loss(MODEL, window, reduction="sum").item() == pytest.approx(expected, rel=1e-5)
    assert next_base_loss(MODEL, window).item() == pytest.approx(expected / len(real), rel=1e-5)


def test_without_a_real_target_there_is_no_perplexity() -> None:
    assert math.isnan(perplexity(MODEL, encode(b"ANNNN"), context=16))
