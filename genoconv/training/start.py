"""Where a run begins: a new model of some shape with random weights, or the weights of one that exists."""

import math
from dataclasses import dataclass, replace

import torch

from genoconv.errors import UsageError
from genoconv.model.config import HyenaConfig
from genoconv.model.files import file_sha256
from genoconv.model.filter import ImplicitFilter
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.names import resolve
from genoconv.model.pretrained import load_model
from genoconv.training.settings import Settings

SHORTEST_MEMORY = 2.0
"""Taps after which the fastest channel's window has fallen to 1/e."""

LONGEST_MEMORY = 1 / 3
"""The same for the slowest channel, as a share of l_max; the public models have windows of this length only."""

FINEST_DETAIL = 125.0
"""Taps over which the fastest sine of the filters' first layer advances by `activation_freq` radians.

The first layer's weights of the time go up to l_max / 125. torch's own start leaves them below 0.5: no filter of 32,770
taps could then tell taps apart that are closer than some 500. On the data of genoconv-mini, after 26 million bases,
validation perplexity was 3.710 with upstream's windows and start, 3.687 with windows spread as here, 3.678 with both.
"""

_SLOWEST_SINE = 0.1


@dataclass(frozen=True, slots=True)
class Shape:
    """What was asked for of a model's shape; None where nothing was.

    Attributes:
        d_model: Width.
        n_layer: Blocks.
        d_inner: Width inside the MLPs; four times d_model if left open.
        l_max: Taps of the long filters.
    """

    d_model: int | None = None
    n_layer: int | None = None
    d_inner: int | None = None
    l_max: int | None = None


def starting_point(name: str | None, shape: Shape) -> tuple[HyenaConfig, HyenaDNA | None, str]:
    """The shape of the model, its weights if it exists, and what identifies them.

    Args:
        name: A model to continue from, as after --model; None for a new one.
        shape: What the person asked for.

    Returns:
        Config; the model, or None; the sha256 of its weights, or "".

    Raises:
        UsageError: A shape is asked for that the model to continue from does not have.
        ModelError: That model cannot be loaded.
    """
    if name is None:
        d_model = shape.d_model or Settings.d_model
        return (
            HyenaConfig(
                d_model=d_model,
                n_layer=shape.n_layer or Settings.n_layer,
                d_inner=shape.d_inner or 4 * d_model,
                l_max=shape.l_max or Settings.l_max,
                filter_shift=0.0,
            ),
            None,
            "",
        )
    found = resolve(name)
    model = load_model(found.path)
    for field in ("d_model", "n_layer", "d_inner", "l_max"):
        wanted, has = getattr(shape, field), getattr(model.config, field)
        if wanted not in (None, has):
            raise UsageError(
                f"{field.replace('_', '-')} {wanted} was asked for, but {name} has {has}",
                fix="leave the shape out with --from",
            )
    return model.config, model, file_sha256(found.weights)


def new_model(config: HyenaConfig, seed: int) -> HyenaDNA:
    """A model with random weights, the same for the same seed.

    Its long filters start otherwise than upstream's: the channels' windows are spread evenly on a logarithmic scale,
    from two taps to a third of l_max, and so are the sines' frequencies, so that near bases can be told apart from the
    first step on. With `filter_shift` 0 a window really ends.
    """
    torch.manual_seed(seed)
    model = HyenaDNA(config)
    taps = max(config.l_max - 1, 1)
    memories = torch.logspace(0, 1, config.d_model, base=max(LONGEST_MEMORY * taps / SHORTEST_MEMORY, 1.0))
    for module in model.modules():
        if isinstance(module, ImplicitFilter):
            module.deltas.copy_(taps / (SHORTEST_MEMORY * memories))
            first = module.inner[0].weight
            assert isinstance(first, torch.Tensor)  # (filter_order, emb_dim); the first feature is the time
            fastest = max(config.l_max / FINEST_DETAIL, _SLOWEST_SINE)
            rates = torch.logspace(math.log10(_SLOWEST_SINE), math.log10(fastest), len(first))
            with torch.no_grad():
                first[:, 0] = first[:, 0].sign() * rates
    return model


def with_shorter_filters(model: HyenaDNA, taps: int | None) -> HyenaDNA:
    """The same model with the long filters ending after so many taps; None leaves them as they are.

    The taps that stay keep their positions and values: what is trained, and saved, is a model of that `l_max`. It runs
    at any length, as all do, and a position then sees at most that far back in each layer.

    Args:
        model: Changed in place.
        taps: Up to its l_max.

    Raises:
        UsageError: The filters do not have so many taps.
    """
    if taps is None:
        return model
    if taps > model.config.l_max:
        raise UsageError(f"filters of {model.config.l_max:,} taps cannot be cut to {taps:,}", fix="give fewer")
    model.config = replace(model.config, l_max=taps)
    for module in model.modules():
        if isinstance(module, ImplicitFilter):
            positions = module.positions
            positions.z, positions.t = positions.z[:taps].clone(), positions.t[:taps].clone()
    return model
