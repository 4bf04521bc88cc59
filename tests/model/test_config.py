"""Reading config.json: both kinds, defaults, and every refusal by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from genoconv.errors import ModelError
from genoconv.inputs import tokens
from genoconv.model import config
from genoconv.model.config import HyenaConfig

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
ORIGINAL = json.loads((GOLDEN / "tiny-d64" / "original" / "config.json").read_text())
PUBLIC = json.loads((GOLDEN / "tiny-d64" / "config.json").read_text())


def test_both_kinds_say_the_same() -> None:
    expected = HyenaConfig(d_model=64, n_layer=2, d_inner=256, l_max=1026)
    assert HyenaConfig.from_dict(PUBLIC) == HyenaConfig.from_dict(ORIGINAL) == expected
    assert (expected.vocab_rows, expected.filter_shift, expected.eps) == (16, 0.05, 1e-5)


@pytest.mark.parametrize(
    "config",
    [
        HyenaConfig(d_model=64, n_layer=2, d_inner=256, l_max=1026),
        HyenaConfig(d_model=8, n_layer=1, d_inner=9, l_max=3, vocab_rows=12, filter_shift=0.0, eps=1e-6, tied=True),
        HyenaConfig(d_model=8, n_layer=1, d_inner=9, l_max=3, vocab_rows=24, emb_dim=7, filter_order=5),
    ],
)
def test_written_and_read_back(config: HyenaConfig) -> None:
    assert HyenaConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_caller_keeps_his_fields() -> None:
    before = json.dumps(ORIGINAL)
    HyenaConfig.from_dict(ORIGINAL)
    assert json.dumps(ORIGINAL) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hyena_order": 3}, "hyena_order is 3"),
        ({"short_filter_order": 5}, "short_filter_order is 5"),
        ({"num_inner_mlps": 1}, "num_inner_mlps is 1"),
        ({"emb_dim": 4}, "emb_dim must be odd"),
        ({"d_model": 0}, "d_model"),
        ({"n_layer": "two"}, "n_layer"),
        ({"max_seq_len": None}, "l_max"),
        ({"max_seq_len": 2.5}, "l_max"),
        ({"layer_norm_epsilon": "small"}, "not a number"),
        ({"pad_vocab_size_multiple": 0}, "not a number"),
        ({"vocab_size": 4}, "12 tokens"),
        ({"layer": []}, "must be an object"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        HyenaConfig.from_dict({**PUBLIC, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": 3}, "hyena_order is 3"),
        ({"local_order": 4}, "short_filter_order is 4"),
        ({"modulate": False}, "modulate is False"),
        ({"normalized": True}, "normalized is True"),
        ({"bidirectional": True}, "bidirectional is True"),
        ({"shfit": 0.0}, "does not know: shfit"),
    ],
)
def test_refused_in_the_layer_section(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        HyenaConfig.from_dict({**ORIGINAL, "layer": {**ORIGINAL["layer"], **changes}})


def test_shift_of_the_layer_section_counts() -> None:
    assert HyenaConfig.from_dict({**ORIGINAL, "layer": {**ORIGINAL["layer"], "shift": 0.0}}).filter_shift == 0.0


def test_missing_field_is_named() -> None:
    with pytest.raises(ModelError, match="lacks 'd_inner'"):
        HyenaConfig.from_dict({name: value for name, value in PUBLIC.items() if name != "d_inner"})


def test_padding_is_the_tokenizers() -> None:
    assert config.PAD == tokens.PAD
