"""Checkpoints, read and written: files under anyone's parameter names -> HyenaDNA, and back to the public -hf names.

The only place that knows other people's names.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from genoconv.errors import ModelError
from genoconv.model.config import HyenaConfig
from genoconv.model.files import CONFIG_FILE, WEIGHT_FILES, weights_file
from genoconv.model.filter import Positions, decay_rates, position_features
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.unpickle import read_torch_file

# Our name inside a block -> the public name inside a layer.
_LAYER_NAMES = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "operator.in_proj.weight": "mixer.in_proj.weight",
    "operator.in_proj.bias": "mixer.in_proj.bias",
    "operator.short_filter.weight": "mixer.short_filter.weight",
    "operator.short_filter.bias": "mixer.short_filter.bias",
    "operator.skip": "mixer.filter_fn.bias",
    "operator.long_filter.positions.z": "mixer.filter_fn.pos_emb.z",
    "operator.long_filter.positions.t": "mixer.filter_fn.pos_emb.t",
    "operator.long_filter.inner.0.weight": "mixer.filter_fn.implicit_filter.0.weight",
    "operator.long_filter.inner.0.bias": "mixer.filter_fn.implicit_filter.0.bias",
    "operator.long_filter.freq": "mixer.filter_fn.implicit_filter.1.freq",
    "operator.long_filter.inner.1.weight": "mixer.filter_fn.implicit_filter.2.weight",
    "operator.long_filter.inner.1.bias": "mixer.filter_fn.implicit_filter.2.bias",
    "operator.long_filter.inner.2.weight": "mixer.filter_fn.implicit_filter.4.weight",
    "operator.long_filter.inner.2.bias": "mixer.filter_fn.implicit_filter.4.bias",
    "operator.long_filter.outer.weight": "mixer.filter_fn.implicit_filter.6.weight",
    "operator.long_filter.deltas": "mixer.filter_fn.modulation.deltas",
    "operator.out_proj.weight": "mixer.out_proj.weight",
    "operator.out_proj.bias": "mixer.out_proj.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "mlp.fc1.weight": "mlp.fc1.weight",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.weight": "mlp.fc2.weight",
    "mlp.fc2.bias": "mlp.fc2.bias",
}
_TOP_NAMES = {
    "embedding.weight": "backbone.embeddings.word_embeddings.weight",
    "norm.weight": "backbone.ln_f.weight",
    "norm.bias": "backbone.ln_f.bias",
    "head.weight": "lm_head.weight",
}
_OURS = {public: ours for ours, public in (_LAYER_NAMES | _TOP_NAMES).items()}

# 97% of the weights. The filters' first layer, times positions and frequencies, would be off by radians in float16.
_LARGE = ("in_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight")

# Metric counters of the training code, and heads for other tasks: nothing that the hidden states depend on.
_IGNORED = re.compile(r"(train|val|test)_torchmetrics\.|(model\.)?(decoder|encoder|head|score)\.")
_PREFIX = re.compile(r"^(model|hyena)\.(?=backbone\.|lm_head\.)")
_LAYER = re.compile(r"^backbone\.layers\.(\d+)\.(.+)$")
# Models trained with gradient checkpointing have one more level in their names.
_WRAPPED = re.compile(r"^(mixer|mlp)\.layer\.")
# One frequency vector serves three sines; Lightning checkpoints hold it under three names, -hf files under the first.
_REPEATED_FREQ = re.compile(r"^mixer\.filter_fn\.implicit_filter\.[35]\.freq$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file holds, checked and complete.

    Attributes:
        config: The shape of the model.
        tensors: Our parameter and buffer names -> float32 tensors, in the model's shapes.
        origin: The weight file.
    """

    config: HyenaConfig
    tensors: dict[str, Tensor]
    origin: Path


def load_model(path: Path, *, device: str | torch.device = "cpu") -> HyenaDNA:
    """Loads a model, ready to embed.

    Args:
        path: Folder with config.json and model.safetensors or weights.ckpt, or the weight file in such a folder.
        device: Where to put it.

    Returns:
        The model in float32, in evaluation mode.

    Raises:
        ModelError: As `load_checkpoint`.
    """
    checkpoint = load_checkpoint(path)
    tensors = dict(checkpoint.tensors)
    with torch.device("meta"):
        model = HyenaDNA(checkpoint.config)
    shared = model.stack[0].operator.long_filter.positions
    for index, block in enumerate(model.stack):
        names = [f"blocks.{index}.operator.long_filter.positions.{kind}" for kind in ("z", "t")]
        first = [f"blocks.0.operator.long_filter.positions.{kind}" for kind in ("z", "t")]
        if any(tensors[name] is not tensors[own] for name, own in zip(names, first, strict=True)):
            block.operator.long_filter.positions = Positions(checkpoint.config)
        else:
            block.operator.long_filter.positions = shared
    model.load_state_dict(tensors, assign=True)
    if checkpoint.config.tied:
        model.head.weight = model.embedding.weight
    return model.requires_grad_(True).to(device).eval()


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint: safetensors, Lightning or any file of torch.save, under any of the published namings.

    Args:
        path: As for `load_model`.

    Raises:
        ModelError: Nothing is there, or it is damaged, or it is not a HyenaDNA model: tensors unknown, missing or
            misshapen, each by name.
    """
    path = Path(path)
    origin = weights_file(path)
    raw = _read_tensors(origin)
    config = _read_config(origin.parent / CONFIG_FILE)
    found = _renamed(raw, origin)
    _complete(found, config)
    expected = _expected_shapes(config)
    _check(found, expected, config, origin)
    tensors = {name: found[name].to(torch.float32).reshape(expected[name]).contiguous() for name in expected}
    if config.tied and not torch.equal(tensors["head.weight"], tensors["embedding.weight"]):
        raise ModelError(
            "config.json says that the head is the embedding, but the file has another head",
            where=str(origin),
            fix="set tie_word_embeddings to false in config.json",
        )
    return Checkpoint(config, _shared(tensors), origin)


def save_checkpoint(
    model: HyenaDNA,
    folder: Path,
    *,
    metadata: Mapping[str, str] | None = None,
    buffers: bool = True,
    half: bool = False,
) -> None:
    """Writes config.json and model.safetensors under the public -hf names.

    Args:
        model: What to write.
        folder: Where; made if need be. Files of these names are replaced.
        metadata: Strings for the header of the safetensors file.
        buffers: Also write z, t and deltas where they are what their formulas give, as the public files do; without
            them the file is smaller, and only genoconv can read it.
        half: Write the large matrices (`in_half`) in float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    z, t = position_features(model.config.l_max, model.config.emb_dim)
    formulas = {"positions.z": z, "positions.t": t, "deltas": decay_rates(model.config.d_model)}
    tensors = {}
    for name, tensor in model.state_dict().items():
        value = tensor.detach().cpu()
        formula = formulas.get(name.rpartition("long_filter.")[2])
        if buffers or formula is None or not torch.equal(value, formula):
            public, shape = _public(name, value.shape)
            tensors[public] = (value.half() if half and in_half(name) else value).reshape(shape).clone()
    header = {"format": "pt", **(metadata or {})}
    save_file(tensors, folder / WEIGHT_FILES[0], metadata=header)
    (folder / CONFIG_FILE).write_text(json.dumps(model.config.to_dict(), indent=1, sort_keys=True) + "\n")
    # safetensors makes files for their owner only; the config has the permissions that the person's umask gives.
    shutil.copymode(folder / CONFIG_FILE, folder / WEIGHT_FILES[0])


def in_half(name: str) -> bool:
    """Whether a tensor of ours may be stored in float16: projections and MLPs, not what makes the filters."""
    return name.endswith(_LARGE)


def _public(name: str, shape: torch.Size) -> tuple[str, tuple[int, ...]]:
    """The public name and shape of a tensor of ours."""
    if name in _TOP_NAMES:
        public = _TOP_NAMES[name]
        return (f"hyena.{public}" if public.startswith("backbone") else public), tuple(shape)
    _, index, inner = name.split(".", 2)
    wider: dict[str, tuple[int, ...]] = {
        "operator.short_filter.weight": (shape[0], 1, shape[-1]),
        "operator.long_filter.positions.z": (1, *shape),
        "operator.long_filter.positions.t": (1, *shape),
        "operator.long_filter.freq": (1, *shape),
        "operator.long_filter.deltas": (1, 1, *shape),
    }
    return f"hyena.backbone.layers.{index}.{_LAYER_NAMES[inner]}", wider.get(inner, tuple(shape))


def _read_tensors(origin: Path) -> dict[str, Tensor]:
    if origin.suffix != ".safetensors":
        return read_torch_file(origin)
    try:
        return load_file(origin)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"the file is damaged or not a safetensors file: {error}",
            where=str(origin),
            fix="download or copy it again",
        ) from error


def _read_config(path: Path) -> HyenaConfig:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"a weight file needs the model's {CONFIG_FILE} beside it",
            where=str(path),
            fix="copy the config.json that belongs to the weights into the same folder",
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{CONFIG_FILE} cannot be read: {error}", where=str(path), fix="copy it again") from error
    if not isinstance(fields, dict):
        raise ModelError(f"{CONFIG_FILE} must hold one object", where=str(path), fix="copy it again")
    try:
        return HyenaConfig.from_dict(fields)
    except ModelError as error:
        raise ModelError(error.what, where=str(path), fix=error.fix) from error


def _renamed(raw: Mapping[str, Tensor], origin: Path) -> dict[str, Tensor]:
    """The tensors that matter under our names; anything that is neither known nor known not to matter is refused."""
    found: dict[str, Tensor] = {}
    frequencies: list[tuple[str, str]] = []
    unknown = []
    for name, tensor in raw.items():
        if _IGNORED.match(name):
            continue
        public = _PREFIX.sub("", name)
        layer = _LAYER.match(public)
        inner = _WRAPPED.sub(r"\1.", layer[2]) if layer else public
        prefix = f"blocks.{int(layer[1])}." if layer else ""
        if layer and _REPEATED_FREQ.match(inner):
            frequencies.append((prefix + "operator.long_filter.freq", name))
        elif inner in _OURS and bool(layer) == (inner in _LAYER_NAMES.values()):
            found[prefix + _OURS[inner]] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise _refused(f"tensors that HyenaDNA does not have: {_listed(unknown)}", origin)
    for ours, name in frequencies:
        if not torch.equal(found.setdefault(ours, raw[name]), raw[name]):
            raise _refused(f"{name} differs from the one frequency that the filter's three sines share", origin)
    return found


def _complete(found: dict[str, Tensor], config: HyenaConfig) -> None:
    """Adds what files may leave out: the head (then it is the embedding), and buffers that are as their formulas."""
    if "embedding.weight" in found:
        found.setdefault("head.weight", found["embedding.weight"])
    z, t = position_features(config.l_max, config.emb_dim)
    formulas = {"positions.z": z, "positions.t": t, "deltas": decay_rates(config.d_model)}
    for index in range(config.n_layer):
        for name, formula in formulas.items():
            found.setdefault(f"blocks.{index}.operator.long_filter.{name}", formula)


def _expected_shapes(config: HyenaConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in HyenaDNA(config).state_dict().items()}


def _check(found: Mapping[str, Tensor], expected: Mapping[str, torch.Size], config: HyenaConfig, origin: Path) -> None:
    """Raises ModelError unless exactly the expected tensors are there, in their shapes (but for axes of length 1)."""
    for name, tensor in found.items():
        if name.endswith(("positions.z", "positions.t")) and tensor.squeeze().shape[:1] != (config.l_max,):
            raise ModelError(
                f"config.json says {config.l_max} positions, but the filter's {name[-1]} has {tensor.shape[-2]}",
                where=str(origin),
                fix="use the config.json that belongs to the weights; longer inputs need no change to it",
            )
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise _refused(f"tensors are missing: {_listed(missing)}", origin)
    surplus = sorted(found.keys() - expected.keys())
    if surplus:
        raise _refused(f"more layers than config.json says ({config.n_layer}): {_listed(surplus)}", origin)
    for name, shape in expected.items():
        if _without_ones(found[name].shape) != _without_ones(shape):
            raise _refused(f"{name} has the shape {tuple(found[name].shape)}, not {tuple(shape)}", origin)
        if not found[name].is_floating_point():
            raise _refused(f"{name} holds {found[name].dtype}, not floating-point numbers", origin)


def _without_ones(shape: torch.Size) -> list[int]:
    return [length for length in shape if length != 1]


def _shared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same, where positions that are equal to the first layer's are the same tensor (192 MB of large-1m's 218)."""
    for name, tensor in tensors.items():
        inner = name.partition(".operator.")[2]
        if inner.startswith("long_filter.positions."):
            first = tensors[f"blocks.0.operator.{inner}"]
            if tensor is not first and torch.equal(tensor, first):
                tensors[name] = first
    return tensors


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _refused(why: str, origin: Path) -> ModelError:
    return ModelError(
        f"not a HyenaDNA checkpoint that fits its config.json: {why}",
        where=str(origin),
        fix="use the weights and the config.json of the same HyenaDNA model",
    )
