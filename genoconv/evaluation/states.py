"""Sequences -> hidden states of both strands -> views of them, one matrix for each view and layer."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genoconv.errors import InputError
from genoconv.inputs.batches import plan_batches
from genoconv.inputs.tokens import encode_batch
from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.inference import hidden_states
from genoconv.outputs.pooling import pool

Matrix = NDArray[np.float32]

NEIGHBOURS = (-4, 0, 4)
"""Places of the view `window`, in bases from the site, on each strand."""

MOST_LAYERS = 4
"""Layers that are looked at: spread evenly over the second half of the blocks, the final state last."""

BATCH_BASES = {"cpu": 1 << 15, "cuda": 1 << 20}

VIEWS = {
    "mean": "means of both strands side by side",
    "max": "maxima of both strands side by side",
    "site": "states of both strands at one base (genoconv embed --pool site)",
    "window": f"states of both strands at {NEIGHBOURS} bases from the site",
    "site+mean": "both of them",
    "strandless": "mean over both strands together",
    "spread": "strandless, and the standard deviation along the sequence",
}
"""What of the hidden states is offered to a probe."""


def looked_at(config: HyenaConfig) -> tuple[int, ...]:
    """The layers that are offered, ascending."""
    blocks = np.linspace(-(-config.n_layer // 2), config.n_layer, MOST_LAYERS - 1)
    return (*sorted({round(block) for block in blocks.tolist()}), config.n_layer + 1)


def views(
    model: HyenaDNA, sequences: Sequence[bytes], names: Sequence[str], site: int | None = None
) -> dict[tuple[str, int], Matrix]:
    """Embed both strands of all sequences.

    Args:
        model: On the device to compute on.
        sequences: n sequences of A C G T N.
        names: Of `VIEWS`.
        site: The base that views of a place are about, counted from 1; None: the middle one of each sequence.

    Returns:
        For each view and layer, layers first, a row for each sequence, (n, width) float32.

    Raises:
        InputError: A sequence ends before the site.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    if site is not None and (lengths < site).any():
        row = int(np.argmax(lengths < site))
        raise InputError(f"sequence {row + 1} has {lengths[row]} bases, the site is base {site}")
    device, layers = model.embedding.weight.device, looked_at(model.config)
    found: dict[tuple[str, int], list[Matrix]] = {(name, layer): [] for layer in layers for name in names}
    order: list[int] = []
    for rows in plan_batches(lengths, BATCH_BASES[device.type]):
        order += rows.tolist()
        strands = [_stranded(model, [sequences[row] for row in rows.tolist()], names, layers, site, turn=False)]
        strands.append(_stranded(model, [sequences[row] for row in rows.tolist()], names, layers, site, turn=True))
        for layer in layers:
            for name in names:
                found[name, layer].append(_joined(name, *(strand[layer] for strand in strands)).cpu().numpy())
    back = np.argsort(order)
    return {key: np.concatenate(parts)[back] for key, parts in found.items()}


def _stranded(
    model: HyenaDNA,
    batch: Sequence[bytes],
    names: Sequence[str],
    layers: Sequence[int],
    site: int | None,
    *,
    turn: bool,
) -> dict[int, dict[str, Tensor]]:
    """By layer, what the views need of one strand: means, maxima, deviations, states at places; (B, d) each."""
    ids, sizes = encode_batch(batch, turn=turn), list(map(len, batch))
    places = {
        name: [_place(size, site, offset, turn=turn) for size in sizes]
        for name, offset in {"site": 0, **{f"window{offset}": offset for offset in NEIGHBOURS}}.items()
        if name.startswith(tuple(part for view in names for part in view.split("+")))
    }
    found: dict[int, dict[str, Tensor]] = {}
    device = model.embedding.weight.device
    for layer, hidden in hidden_states(model, torch.from_numpy(ids).to(device), layers=layers):
        parts = {name: hidden[torch.arange(len(sizes)), torch.tensor(where)].clone() for name, where in places.items()}
        parts["mean"] = pool(hidden, sizes, "mean")
        if "max" in names:
            parts["max"] = pool(hidden, sizes, "max")
        if "spread" in names:
            centred = hidden - parts["mean"][:, None]
            parts["spread"] = pool(centred.square_(), sizes, "mean").sqrt()
        found[layer] = parts
    return found


def _place(size: int, site: int | None, offset: int, *, turn: bool) -> int:
    """0-based place of a base that many bases downstream of the site, on a strand; at most the strand's ends."""
    at = size // 2 if site is None else site - 1
    return min(max((size - 1 - at if turn else at) + offset, 0), size - 1)


def _joined(name: str, given: dict[str, Tensor], other: dict[str, Tensor]) -> Tensor:
    """One view of both strands, (B, width)."""
    if name == "strandless":
        return (given["mean"] + other["mean"]) / 2
    if name == "spread":
        return torch.cat([_joined("strandless", given, other), (given["spread"] + other["spread"]) / 2], dim=1)
    if name == "window":
        return torch.cat([_joined(f"window{offset}", given, other) for offset in NEIGHBOURS], dim=1)
    return torch.cat([strand[part] for part in name.split("+") for strand in (given, other)], dim=1)
