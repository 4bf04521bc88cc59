"""The network of a long filter -> features of its positions -> taps of some channels, in pieces that stay in cache."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from genoconv.kernels.scripts import without_lock
from genoconv.model.filter import ImplicitFilter
from genoconv.model.rooms import large_room
from genoconv.model.workers import Workers

LONGEST_PIECE = 1 << 11
"""Taps of a channel that are made at a time on a CPU."""

_CHUNK_TAPS = {"cpu": LONGEST_PIECE, "cuda": 1 << 18}
_FEWEST_TAPS = 256


def make_features(long_filter: ImplicitFilter, count: int, workers: Workers) -> Tensor:
    """`long_filter.features(0, count)`, a few thousand positions at a time: no more memory than the result."""
    features = large_room(long_filter.freq, count, len(long_filter.freq))
    workers.each(lambda fill: fill(), pieces_of_features(long_filter, features, workers))
    return features


def pieces_of_features(long_filter: ImplicitFilter, features: Tensor, workers: Workers) -> list[Callable[[], None]]:
    """What is to be called, in any order and by any threads, to fill `features` (count, filter_order)."""
    count, z = len(features), long_filter.positions.z
    step = min(_CHUNK_TAPS[features.device.type], max(_FEWEST_TAPS, -(-count // workers.count)))
    inner = [linear for linear in long_filter.inner if isinstance(linear, nn.Linear)]
    linears: list[tuple[Tensor, Tensor]] = [(linear.weight, linear.bias) for linear in inner]
    return [
        partial(_fill_features, z[at:to], long_filter.freq, linears, features[at:to])
        for at, to in ((at, min(at + step, count)) for at in range(0, count, step))
    ]


@without_lock
def _fill_features(z: Tensor, freq: Tensor, linears: list[tuple[Tensor, Tensor]], features: Tensor) -> None:
    h = z
    for weight, bias in linears:
        h = functional.linear(h, weight, bias).mul_(freq).sin_()
    features.copy_(h)


def make_taps(long_filter: ImplicitFilter, features: Tensor, channels: slice, room: Tensor | None) -> Tensor:
    """`long_filter.taps(features, channels)`, in `room` if given; a few thousand positions at a time stay in cache."""
    deltas, weight = long_filter.deltas[channels], long_filter.outer.weight[channels]
    taps = features.new_empty(len(deltas), len(features)) if room is None else room[: len(deltas)]
    time = long_filter.positions.t[: len(features), 0]
    fill_taps(deltas, weight, features, time, long_filter.shift, chunk_taps(features), taps)
    return taps


def chunk_taps(features: Tensor) -> int:
    """Taps of a channel that are made at a time."""
    return _CHUNK_TAPS[features.device.type]


def fill_taps(
    deltas: Tensor, weight: Tensor, features: Tensor, time: Tensor, shift: float, step: int, taps: Tensor
) -> None:
    """Taps (c, count); each piece of the window is the first one times a number."""
    rates = -deltas.abs()[:, None]
    first_window = (rates * time[:step]).exp_()
    for first in range(0, len(features), step):
        part = taps[:, first : first + step]
        torch.mul(first_window[:, : part.shape[1]], (rates * time[first]).exp_(), out=part).add_(shift)
        part.mul_(weight @ features[first : first + step].t())
