"""Checkpoints under all their names: loaded alike, refused by name when something is wrong, written and read back."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from genoconv.errors import ModelError
from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.pretrained import load_checkpoint, load_model, save_checkpoint

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
PUBLIC = GOLDEN / "tiny-d64"
LIGHTNING = PUBLIC / "original"
FREQ = "mixer.filter_fn.implicit_filter.{}.freq"

Tensors = dict[str, Tensor]


@pytest.fixture
def tensors() -> Tensors:
    return load_file(PUBLIC / "model.safetensors")


def write(folder: Path, tensors: Tensors, **config: Any) -> Path:
    """A model folder with these tensors and the public config, changed."""
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    fields = {**json.loads((PUBLIC / "config.json").read_text()), **config}
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


def assert_same(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    different = [name for name in found if not torch.equal(found[name], expected[name])]
    assert not different


def test_safetensors_and_lightning_hold_the_same_backbone() -> None:
    public, lightning = load_checkpoint(PUBLIC), load_checkpoint(LIGHTNING)
    assert public.config == lightning.config
    assert (public.origin.name, lightning.origin.name) == ("model.safetensors", "weights.ckpt")
    assert torch.equal(lightning.tensors.pop("head.weight"), lightning.tensors["embedding.weight"])
    del public.tensors["head.weight"]
    assert_same(lightning.tensors, public.tensors)


@pytest.mark.parametrize("path", [LIGHTNING / "weights.ckpt", PUBLIC / "model.safetensors"])
def test_a_file_may_be_named_itself(path: Path) -> None:
    assert_same(load_checkpoint(path).tensors, load_checkpoint(path.parent).tensors)


def rename_standalone(tensors: Tensors) -> Tensors:
    """The names of the authors' one-file model: no prefix, three names for one frequency, no head for tokens."""
    found = {name.removeprefix("hyena."): t for name, t in tensors.items() if name != "lm_head.weight"}
    for layer in range(2):
        prefix = f"backbone.layers.{layer}."
        for place in (3, 5):
            found[prefix + FREQ.format(place)] = found[prefix + FREQ.format(1)]
    return {**found, "head.output_transform.weight": torch.ones(2, 64)}


def rename_checkpointed(tensors: Tensors) -> Tensors:
    """The names of the training code with gradient checkpointing, and things that a training run leaves behind."""
    found = {
        name.replace("hyena.", "model.").replace(".mixer.", ".mixer.layer.").replace(".mlp.", ".mlp.layer."): tensor
        for name, tensor in tensors.items()
    }
    found["model.lm_head.weight"] = found.pop("lm_head.weight")
    left = {"train_torchmetrics.num_tokens.count": torch.tensor(5), "decoder.0.output_transform.weight": torch.ones(2)}
    return {**found, **left}


def rename_classifier(tensors: Tensors) -> Tensors:
    return {**{n: t for n, t in tensors.items() if n != "lm_head.weight"}, "score.weight": torch.ones(2, 64)}


@pytest.mark.parametrize("rename", [rename_standalone, rename_checkpointed, rename_classifier])
def test_other_names(rename: Callable[[Tensors], Tensors], tensors: Tensors, tmp_path: Path) -> None:
    expected = load_checkpoint(PUBLIC).tensors
    found = load_checkpoint(write(tmp_path / "model", rename(tensors))).tensors
    if rename is not rename_checkpointed:
        expected["head.weight"] = expected["embedding.weight"]
    assert_same(found, expected)


def test_other_names_in_a_torch_file(tensors: Tensors, tmp_path: Path) -> None:
    torch.save(rename_standalone(tensors), tmp_path / "weights.ckpt")
    shutil.copy(PUBLIC / "config.json", tmp_path)
    found = load_checkpoint(tmp_path).tensors
    assert torch.equal(found["norm.bias"], load_checkpoint(PUBLIC).tensors["norm.bias"])


def test_half_precision_weights_become_float32(tensors: Tensors, tmp_path: Path) -> None:
    found = load_checkpoint(write(tmp_path / "m", {name: t.bfloat16() for name, t in tensors.items()})).tensors
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


BLOCK = "hyena.backbone.layers.1."


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


def replaced(name: str, value: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: value(tensors.get(name, torch.ones(1, 64)))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(f"{BLOCK}mlp.fc1.bias"), r"missing: blocks\.1\.mlp\.fc1\.bias"),
        (without("hyena.backbone.embeddings.word_embeddings.weight"), "missing: embedding.weight, head.weight|missing"),
        (without(f"{BLOCK}{FREQ.format(1)}"), r"missing: blocks\.1\.operator\.long_filter\.freq"),
        (replaced(f"{BLOCK}mixer.gate.weight", lambda t: t), r"does not have: hyena\.backbone\.layers\.1\.mixer\.gate"),
        (replaced("hyena.backbone.pooler.weight", lambda t: t), "does not have: hyena.backbone.pooler"),
        (replaced("something.else", lambda t: t), "does not have: something.else"),
        (replaced("hyena.backbone.layers.2.norm1.weight", lambda t: t[0]), "more layers"),
        (replaced(f"{BLOCK}norm1.weight", lambda t: t[:-1]), r"norm1\.weight has the shape \(63,\), not \(64,\)"),
        (replaced(f"{BLOCK}mixer.in_proj.weight", lambda t: t.t()), "in_proj.weight has the shape"),
        (replaced(f"{BLOCK}norm1.weight", lambda t: t.long()), "int64"),
        (replaced(f"{BLOCK}{FREQ.format(3)}", lambda t: t), r"implicit_filter\.3\.freq differs"),
        (replaced(f"{BLOCK}mixer.filter_fn.pos_emb.z", lambda t: t[:, :1000]), "1026 positions.*z has 1000"),
        (replaced(f"{BLOCK}mixer.filter_fn.pos_emb.t", lambda t: t[:, :1000]), "1026 positions.*t has 1000"),
    ],
)
def test_what_is_wrong_is_named(
    change: Callable[[Tensors], Tensors], message: str, tensors: Tensors, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message) as refusal:
        load_checkpoint(write(tmp_path / "model", change(tensors)))
    assert refusal.value.where == str(tmp_path / "model" / "model.safetensors")


def test_a_longer_context_in_the_config_is_refused(tensors: Tensors, tmp_path: Path) -> None:
    """It would stretch the filters: another function at every position."""
    with pytest.raises(ModelError, match=r"says 4104 positions, but the filter's [zt] has 1026"):
        load_checkpoint(write(tmp_path / "model", tensors, max_seq_len=4104))


def test_fewer_layers_in_the_config_are_refused(tensors: Tensors, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"more layers than config.json says \(1\)"):
        load_checkpoint(write(tmp_path / "model", tensors, n_layer=1))


def test_a_tied_head_must_be_the_embedding(tensors: Tensors, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="another head"):
        load_checkpoint(write(tmp_path / "model", tensors, tie_word_embeddings=True))
    tied = {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}
    model = load_model(write(tmp_path / "tied", tied, tie_word_embeddings=True))
    assert model.head.weight is model.embedding.weight


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"\xff" * 64 + b[64:], lambda b: b""])
def test_damaged_safetensors(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    shutil.copy(PUBLIC / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(damage((PUBLIC / "model.safetensors").read_bytes()))
    with pytest.raises(ModelError, match="damaged"):
        load_checkpoint(tmp_path)


def test_config_faults(tmp_path: Path) -> None:
    shutil.copy(PUBLIC / "model.safetensors", tmp_path)
    with pytest.raises(ModelError, match=r"needs the model's config\.json"):
        load_checkpoint(tmp_path / "model.safetensors")
    for text, message in (("{", "cannot be read"), ("[]", "one object"), ('{"d_model": 64}', "lacks")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ModelError, match=message) as refusal:
            load_checkpoint(tmp_path)
        assert refusal.value.where == str(tmp_path / "config.json")


def test_equal_positions_are_kept_once() -> None:
    model = load_model(GOLDEN / "tiny-1k")
    first, second = (block.operator.long_filter.positions for block in model.stack)
    assert first is second


def test_positions_that_differ_are_kept_apart(tensors: Tensors, tmp_path: Path) -> None:
    names = [f"hyena.backbone.layers.{layer}.mixer.filter_fn.pos_emb.z" for layer in range(2)]
    tensors[names[1]] = tensors[names[0]] + 0.5
    model = load_model(write(tmp_path / "model", tensors))
    for name, block in zip(names, model.stack, strict=True):
        assert torch.equal(block.operator.long_filter.positions.z, tensors[name][0])


def test_missing_buffers_come_from_their_formulas(tmp_path: Path) -> None:
    kept = {
        name: tensor
        for name, tensor in load_file(GOLDEN / "tiny-1k" / "model.safetensors").items()
        if "pos_emb" not in name and "deltas" not in name
    }
    rebuilt = load_checkpoint(write(tmp_path / "model", kept, d_model=128, d_inner=512)).tensors
    for name, tensor in load_checkpoint(GOLDEN / "tiny-1k").tensors.items():
        assert (rebuilt[name] - tensor).abs().max() <= 2e-6, name


def test_load_model_is_ready_to_use() -> None:
    model = load_model(PUBLIC)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(tensor.is_meta for tensor in model.state_dict().values())


@pytest.mark.parametrize("source", [PUBLIC, GOLDEN / "tiny-1k", LIGHTNING])
@pytest.mark.parametrize("buffers", [True, False])
def test_written_and_read_back(source: Path, buffers: bool, tmp_path: Path) -> None:
    save_checkpoint(load_model(source), tmp_path / "new", metadata={"note": "x"}, buffers=buffers)
    before, after = load_checkpoint(source), load_checkpoint(tmp_path / "new")
    assert before.config == after.config
    assert_same(after.tensors, before.tensors)
    with safe_open(tmp_path / "new" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "note": "x"}


def test_written_under_the_public_names(tensors: Tensors, tmp_path: Path) -> None:
    save_checkpoint(load_model(PUBLIC), tmp_path)
    assert_same(load_file(tmp_path / "model.safetensors"), tensors)


def test_buffers_are_left_out_only_where_their_formulas_give_them(tmp_path: Path) -> None:
    config = HyenaConfig(d_model=8, n_layer=2, d_inner=16, l_max=30, tied=True)
    model = HyenaDNA(config)
    model.stack[1].operator.long_filter.deltas.add_(1.0)
    save_checkpoint(model, tmp_path, buffers=False)
    kept = [name for name in load_file(tmp_path / "model.safetensors") if "pos_emb" in name or "deltas" in name]
    assert kept == ["hyena.backbone.layers.1.mixer.filter_fn.modulation.deltas"]
    again = load_model(tmp_path)
    assert again.config == config
    assert_same(dict(again.state_dict()), dict(model.state_dict()))


def test_same_model_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_checkpoint(load_model(PUBLIC), tmp_path / name)
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_others_may_read_it_as_far_as_the_umask_lets_them(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save_checkpoint(load_model(PUBLIC), tmp_path / "model")
    finally:
        os.umask(before)
    for path in (tmp_path / "model").iterdir():
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask
