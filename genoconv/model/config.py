"""The shape of a model: the fields of a config.json, checked, under names of our own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genoconv.errors import ModelError

PAD = 4
"""The token that fills short rows of a batch on the right, as the models' vocabulary numbers it."""

NORM_EPS = 1e-5
"""Of the norms inside the blocks, whatever the config says: upstream reads `layer_norm_epsilon` for the last only."""

_LAYER_KEYS = {
    "_name_", "d_model", "emb_dim", "filter_order", "local_order", "short_filter_order", "l_max", "modulate", "w",
    "lr", "wd", "lr_pos_emb", "modulation_lr", "order", "num_inner_mlps", "normalized", "shift", "dropout",
    "filter_dropout", "bidirectional", "fused_bias_fc",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HyenaConfig:
    """Everything that decides the function that a HyenaDNA model computes, but for its weights.

    Attributes:
        d_model: Width of the hidden states, d.
        n_layer: Number of blocks.
        d_inner: Width inside the MLPs.
        l_max: Taps of the long filters; the longest input, in tokens, that the model was trained on.
        vocab_rows: Rows of the embedding and of the head (12 tokens, padded).
        emb_dim: Features of a position from which the filters are made; odd.
        filter_order: Width of the network that makes the filters.
        filter_shift: Added to the filters' decaying window. Upstream's inference code has 0.05 and its training code
            0.0; no checkpoint says. 0.05 gives what people get from the public models.
        activation_freq: The frequency of the filters' sines before training.
        eps: Of the final norm.
        tied: Whether the head is the embedding itself.
    """

    d_model: int
    n_layer: int
    d_inner: int
    l_max: int
    vocab_rows: int = 16
    emb_dim: int = 5
    filter_order: int = 64
    filter_shift: float = 0.05
    activation_freq: float = 10.0
    eps: float = NORM_EPS
    tied: bool = False

    def __post_init__(self) -> None:
        for field in ("d_model", "n_layer", "d_inner", "l_max", "vocab_rows", "emb_dim", "filter_order"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ModelError(f"{field} of a model must be a whole number of 1 or more, not {value!r}")
        if self.emb_dim < 3 or self.emb_dim % 2 == 0:
            raise ModelError(f"emb_dim must be odd and at least 3 (a position, cosines and sines), not {self.emb_dim}")
        if self.vocab_rows < 12:
            raise ModelError(f"the vocabulary has 12 tokens, but the model has {self.vocab_rows} rows for them")

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "HyenaConfig":
        """Reads the fields of a config.json, of a public -hf model or of an original one (with a `layer` section).

        Raises:
            ModelError: A field is missing or wrong, or asks for a model that no public checkpoint is and this program
                therefore does not run.
        """
        layer = fields.get("layer", {})
        if not isinstance(layer, Mapping):
            raise ModelError("`layer` in config.json must be an object", fix="use the config.json of the model")
        unknown = sorted(set(layer) - _LAYER_KEYS)
        if unknown:
            raise ModelError(
                f"config.json has `layer` fields that HyenaDNA does not know: {', '.join(unknown)}",
                fix="correct the spelling or remove them; upstream would have ignored them silently",
            )
        _refuse_other_models(fields, layer)
        l_max = layer.get("l_max") if layer else fields.get("max_seq_len")
        try:
            return cls(
                d_model=fields["d_model"],
                n_layer=fields["n_layer"],
                d_inner=fields["d_inner"],
                l_max=l_max,  # type: ignore[arg-type]  # checked by __post_init__
                vocab_rows=_padded(fields.get("vocab_size", 12), fields.get("pad_vocab_size_multiple", 8)),
                emb_dim=layer.get("emb_dim", fields.get("emb_dim", 5)),
                filter_order=layer.get("filter_order", fields.get("filter_order", 64)),
                filter_shift=float(layer.get("shift", fields.get("filter_shift", 0.05))),
                activation_freq=float(layer.get("w", fields.get("activation_freq", 10))),
                eps=float(fields.get("layer_norm_epsilon", NORM_EPS)),
                tied=bool(fields.get("tie_word_embeddings", False)),
            )
        except KeyError as error:
            raise ModelError(f"config.json lacks {error}", fix="use the config.json of a HyenaDNA model") from error
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise ModelError(f"a field of config.json is not a number: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The fields under the names of the public -hf models, and `filter_shift`, which they lack."""
        return {
            "model_type": "hyenadna",
            "d_model": self.d_model,
            "n_layer": self.n_layer,
            "d_inner": self.d_inner,
            "max_seq_len": self.l_max,
            "vocab_size": 12,
            "pad_vocab_size_multiple": self.vocab_rows if self.vocab_rows != 16 else 8,
            "pad_token_id": 4,
            "emb_dim": self.emb_dim,
            "filter_order": self.filter_order,
            "filter_shift": self.filter_shift,
            "activation_freq": self.activation_freq,
            "num_inner_mlps": 2,
            "hyena_order": 2,
            "short_filter_order": 3,
            "layer_norm_epsilon": self.eps,
            "tie_word_embeddings": self.tied,
            "use_bias": True,
            "train_freq": True,
            "torch_dtype": "float32",
        }


def _refuse_other_models(fields: Mapping[str, Any], layer: Mapping[str, Any]) -> None:
    """Raises ModelError for kinds of Hyena models that are not HyenaDNA as published."""
    short = layer.get("short_filter_order", layer.get("local_order", fields.get("short_filter_order", 3)))
    found = {
        "hyena_order": (layer.get("order", fields.get("hyena_order", 2)), 2),
        "short_filter_order": (short, 3),
        "num_inner_mlps": (layer.get("num_inner_mlps", fields.get("num_inner_mlps", 2)), 2),
        "modulate": (layer.get("modulate", True), True),
        "normalized": (layer.get("normalized", False), False),
        "bidirectional": (layer.get("bidirectional", False), False),
    }
    for name, (value, only) in found.items():
        if value != only:
            raise ModelError(
                f"{name} is {value!r}, but only {only!r} is known to mean the same to all HyenaDNA code",
                fix="no public HyenaDNA model differs here; use one of those",
            )


def _padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
