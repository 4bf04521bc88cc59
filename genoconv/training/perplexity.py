"""From a model and tokens to the perplexity of the next base; also the loss that training lowers."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from genoconv.model.hyenadna import HyenaDNA
from genoconv.training.corpus import FIRST_BASE, LAST_BASE, is_base

_IGNORED = -100


def next_base_loss(model: HyenaDNA, windows: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy in nats of every token after the first; only targets that are A, C, G or T count.

    Args:
        model: Gives logits.
        windows: Token ids, (B, L + 1) int64.
        reduction: "mean" or "sum" over the targets that count.
    """
    targets = windows[:, 1:]
    targets = targets.masked_fill((targets < FIRST_BASE) | (targets > LAST_BASE), _IGNORED)
    logits = model(windows[:, :-1])
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=_IGNORED, reduction=reduction
    )


def count_targets(windows: NDArray[np.uint8]) -> int:
    """How many targets of windows (B, L + 1) count: those that are A, C, G or T."""
    return int(is_base(windows[:, 1:]).sum())


@torch.no_grad()
def perplexity(model: HyenaDNA, tokens: NDArray[np.uint8], *, context: int, batch_bases: int = 1 << 17) -> float:
    """Perplexity of the next base, in float32, over windows side by side.

    A base is judged by what its window holds before it: between none and `context` tokens.

    Args:
        model: On any device.
        tokens: Packed tokens, (T,).
        context: Tokens in a window.
        batch_bases: Tokens to compute at once.
    """
    device = model.embedding.weight.device
    loss, count = 0.0, 0
    for rows in _windows(tokens, context, batch_bases):
        windows = torch.from_numpy(rows).to(device).long()
        loss += next_base_loss(model, windows, reduction="sum").double().item()
        count += count_targets(rows)
    return math.exp(loss / count) if count else math.nan


def _windows(tokens: NDArray[np.uint8], context: int, batch_bases: int) -> Iterator[NDArray[np.uint8]]:
    """Batches of windows (B, context + 1); each begins with the last token of the one before, the rest comes last."""
    whole = (len(tokens) - 1) // context
    step = max(1, batch_bases // context)
    for first in range(0, whole, step):
        count = min(step, whole - first)
        part = np.asarray(tokens[first * context : (first + count) * context + 1])
        yield np.lib.stride_tricks.sliding_window_view(part, context + 1)[::context].copy()
    if whole * context + 1 < len(tokens):
        yield np.array(tokens[whole * context :])[None]
