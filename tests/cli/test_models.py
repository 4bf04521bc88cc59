"""`genoconv models`: list, path, convert, show, pull."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from safetensors import safe_open
from typer.testing import CliRunner

import genoconv
from genoconv.cli import models
from genoconv.errors import ModelError, OutputError, UsageError
from genoconv.model.catalogue import PUBLIC_MODELS
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.pretrained import load_checkpoint, load_model, save_checkpoint

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SAFETENSORS = GOLDEN / "tiny-d64"
LIGHTNING = SAFETENSORS / "original"


def run(*arguments: str | Path) -> str:
    """Run `genoconv models ARGUMENTS...` and give its stdout; errors are raised as they are."""
    result = CliRunner().invoke(models.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of this file sees what the person who runs it has downloaded."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_list() -> None:
    lines = run("list").splitlines()
    assert lines[0].split() == ["name", "context", "width", "layers", "size", "where"]
    assert {line.split()[0] for line in lines[1:]} >= {"genoconv-mini", "genoconv-base", *PUBLIC_MODELS}
    base = next(line for line in lines if line.startswith("genoconv-base"))
    assert base.split() == ["genoconv-base", "32,770", "256", "7", "12.0", "MB", "built", "in"]
    large = next(line for line in lines if line.startswith("hyenadna-large-1m"))
    assert large.split() == ["hyenadna-large-1m", "1,000,002", "256", "8", "218.0", "MB", "to", "download"]
    default = next(line for line in lines if line.startswith("genoconv-mini"))
    assert default.endswith("built in, the default")


def test_list_as_json() -> None:
    entries = {entry["name"]: entry for entry in json.loads(run("list", "--json"))}
    assert [name for name, entry in entries.items() if entry["default"]] == ["genoconv-mini"]
    assert entries["genoconv-mini"]["available"]
    assert not entries["hyenadna-tiny-1k"]["available"]
    assert entries["hyenadna-tiny-1k"]["revision"] == PUBLIC_MODELS["hyenadna-tiny-1k"].revision


@pytest.mark.parametrize("name", ["genoconv-mini", "genoconv-base", str(SAFETENSORS), str(LIGHTNING / "weights.ckpt")])
def test_path_prints_one_path_and_nothing_else(name: str) -> None:
    printed = run("path", name)
    assert printed.count("\n") == 1
    assert Path(printed.strip()).exists()


def test_path_of_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="no model is called"):
        run("path", "hyenadna-medium")


@pytest.mark.parametrize("source", [LIGHTNING, LIGHTNING / "weights.ckpt", SAFETENSORS])
def test_convert_keeps_every_number(source: Path, tmp_path: Path) -> None:
    run("convert", source, tmp_path / "made" / "model")
    before, after = load_checkpoint(source), load_checkpoint(tmp_path / "made" / "model")
    assert before.config == after.config
    assert before.tensors.keys() == after.tensors.keys()
    assert all(bool((before.tensors[name] == after.tensors[name]).all()) for name in before.tensors)


def test_convert_writes_the_public_names(tmp_path: Path) -> None:
    run("convert", LIGHTNING, tmp_path / "made")
    weights, config = tmp_path / "made" / "model.safetensors", tmp_path / "made" / "config.json"
    assert weights.stat().st_mode == config.stat().st_mode
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"config.json", "model.safetensors"}
    with (
        safe_open(tmp_path / "made" / "model.safetensors", "pt") as made,
        safe_open(SAFETENSORS / "model.safetensors", "pt") as public,
    ):
        assert set(made.keys()) == set(public.keys())
        assert made.metadata()["source_sha256"] == hashlib.sha256((LIGHTNING / "weights.ckpt").read_bytes()).hexdigest()
    public_config = json.loads((SAFETENSORS / "config.json").read_text())
    made_config = json.loads((tmp_path / "made" / "config.json").read_text())
    assert {name: made_config[name] for name in ("d_model", "n_layer", "d_inner", "max_seq_len")} == {
        name: public_config[name] for name in ("d_model", "n_layer", "d_inner", "max_seq_len")
    }


def test_convert_refuses_what_is_there_without_force(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(OutputError) as caught:
        run("convert", LIGHTNING, folder)
    assert "--force" in caught.value.fix
    assert (folder / "model.safetensors").read_bytes() == b"precious"
    run("convert", "--force", LIGHTNING, folder)
    assert load_checkpoint(folder).config.d_model == 64


def test_convert_onto_a_file(tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"precious")
    with pytest.raises(OutputError):
        run("convert", "--force", LIGHTNING, tmp_path / "made")
    assert (tmp_path / "made").read_bytes() == b"precious"


def test_convert_leaves_nothing_if_reading_back_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_badly(model: HyenaDNA, folder: Path, *, metadata: dict[str, str], buffers: bool, half: bool) -> None:
        with torch.no_grad():
            model.norm.bias.add_(1e-6)
        save_checkpoint(model, folder, metadata=metadata, buffers=buffers, half=half)

    monkeypatch.setattr("genoconv.model.convert.save_checkpoint", save_badly)
    for more in ([], ["--half"]):
        with pytest.raises(ModelError, match="something else"):
            run("convert", *more, LIGHTNING, tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_convert_in_half_rounds_the_large_matrices_alone(tmp_path: Path) -> None:
    run("convert", "--half", LIGHTNING, tmp_path / "made")
    before, after = load_checkpoint(LIGHTNING), load_checkpoint(tmp_path / "made")
    rounded = {name for name, tensor in before.tensors.items() if not torch.equal(tensor, after.tensors[name])}
    assert {name.split(".", 2)[2] for name in rounded} == {
        "operator.in_proj.weight", "operator.out_proj.weight", "mlp.fc1.weight", "mlp.fc2.weight",
    }  # fmt: skip
    assert all(torch.equal(before.tensors[name].half().float(), after.tensors[name]) for name in rounded)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "made", SAFETENSORS)]
    assert sizes[0] < 0.7 * sizes[1]


def test_convert_refuses_to_round_what_float16_cannot_hold(tmp_path: Path) -> None:
    model = load_model(LIGHTNING)
    with torch.no_grad():
        model.stack[0].mlp.fc1.weight[0, 0] = 1e5
    save_checkpoint(model, tmp_path / "large")
    with pytest.raises(ModelError, match="too large for float16"):
        run("convert", "--half", tmp_path / "large", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_convert_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "poem.ckpt").write_text("roses are red")
    with pytest.raises(ModelError):
        run("convert", tmp_path / "poem.ckpt", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_convert_into_a_place_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="could not be written"):
        run("convert", LIGHTNING, tmp_path / "file" / "made")


def test_show() -> None:
    shown = run("show", GOLDEN / "tiny-1k")
    facts = dict(
        line.split(maxsplit=1) for line in shown.splitlines() if line and not line.startswith(" ") and " " in line
    )
    assert facts["parameters"] == "438,144"
    assert facts["context"].startswith("1,026 tokens")
    assert facts["sha256"] == hashlib.sha256((GOLDEN / "tiny-1k" / "model.safetensors").read_bytes()).hexdigest()
    assert facts["size"] == f"{(GOLDEN / 'tiny-1k' / 'model.safetensors').stat().st_size:,} bytes"
    assert "  d_model = 128" in shown


@pytest.mark.parametrize("name", ["genoconv-mini", "genoconv-base"])
def test_show_a_built_in_model_with_its_card(name: str) -> None:
    shown = run("show", name)
    assert f"# {name}" in shown
    assert "built-in" in shown
    assert "Perplexity on what it never saw" in shown


def test_show_as_json() -> None:
    facts = json.loads(run("show", SAFETENSORS, "--json"))
    assert facts["config"]["d_model"] == facts["d_model"] == 64
    assert facts["kind"] == "path"
    assert facts["available"]
    assert Path(facts["weights"]) == SAFETENSORS / "model.safetensors"


def test_show_a_public_model_that_is_not_here() -> None:
    model = PUBLIC_MODELS["hyenadna-medium-160k"]
    shown = run("show", model.name)
    assert f"genoconv models pull {model.name}" in shown
    assert model.sha256 in shown
    facts = json.loads(run("show", model.name, "--json"))
    assert (facts["available"], facts["config"], facts["l_max"]) == (False, None, 160_002)


@pytest.mark.parametrize("name", ["list", "pull", "path", "convert", "show"])
def test_every_command_has_help(name: str) -> None:
    assert "Usage:" in run(name, "--help")
    command = typer.main.get_command(models.app)
    assert command.commands[name].help  # type: ignore[attr-defined]


def test_the_commands_import_nothing_heavy() -> None:
    heavy = "{'torch', 'huggingface_hub', 'safetensors', 'numpy'}"
    script = f"import sys, genoconv.cli.models; sys.exit(bool({heavy} & set(sys.modules)))"
    root = Path(genoconv.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False, timeout=60).returncode == 0
