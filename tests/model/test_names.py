"""What may be typed after --model: names, paths, and what is neither."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from genoconv.errors import ModelError, UsageError
from genoconv.model import files, names
from genoconv.model.catalogue import PUBLIC_MODELS


def make_model(folder: Path, *, weights: str = "model.safetensors") -> Path:
    """A folder that looks like a model from outside."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"d_model": 8, "n_layer": 1, "d_inner": 32, "max_seq_len": 34}))
    (folder / weights).write_bytes(b"x" * 3000)
    return folder


@pytest.fixture
def builtin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two built-in models and one folder that is none."""
    root = tmp_path / "builtin"
    for name in ("another", names.DEFAULT_MODEL):
        make_model(root / name)
    (root / "notes").mkdir()
    monkeypatch.setattr(names, "BUILTIN_FOLDER", root)
    return root


def test_a_built_in_name(builtin: Path) -> None:
    model = names.resolve(names.DEFAULT_MODEL)
    assert model.path == builtin / names.DEFAULT_MODEL
    assert model.weights == model.path / "model.safetensors"
    assert model.config == model.path / "config.json"
    assert (model.name, model.kind, model.revision) == (names.DEFAULT_MODEL, "built-in", None)


def test_a_built_in_name_wins_over_a_folder_of_that_name(
    builtin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / names.DEFAULT_MODEL)
    assert names.resolve(names.DEFAULT_MODEL).kind == "built-in"
    assert names.resolve(f"./{names.DEFAULT_MODEL}").kind == "path"


def test_every_shipped_model_resolves_and_has_a_card() -> None:
    for folder in names.BUILTIN_FOLDER.glob("*/"):
        model = names.resolve(folder.name)
        assert model.kind == "built-in"
        assert model.weights.is_file()
        assert (folder / "CARD.md").is_file()


@pytest.mark.parametrize("weights", files.WEIGHT_FILES)
def test_a_folder(tmp_path: Path, weights: str) -> None:
    folder = make_model(tmp_path / "mine", weights=weights)
    model = names.resolve(str(folder))
    assert (model.path, model.kind, model.name) == (folder, "path", str(folder))
    assert model.weights == folder / weights


def test_a_file(tmp_path: Path) -> None:
    file = make_model(tmp_path / "mine") / "model.safetensors"
    model = names.resolve(str(file))
    assert model.path == model.weights == file
    assert model.config == file.with_name("config.json")


@pytest.mark.parametrize("name", ["two@words", "some/folder", "run.7@best/last"])
def test_a_path_with_unusual_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / name)
    assert names.resolve(name).path == Path(name)


def test_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make_model(tmp_path / "mine")
    assert names.resolve("~/mine").path == tmp_path / "mine"


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_that_is_no_model(tmp_path: Path, missing: str) -> None:
    folder = make_model(tmp_path / "mine")
    (folder / missing).unlink()
    with pytest.raises(ModelError) as caught:
        names.resolve(str(folder))
    assert caught.value.where == str(folder)
    assert "config.json" in caught.value.what


@pytest.mark.parametrize("path", ["./nothing", "/nothing/here", "a/b/c", "weights.ckpt", "~/nothing", "folder/"])
def test_a_path_to_nothing(path: str) -> None:
    with pytest.raises(ModelError, match="no such file or folder"):
        names.resolve(path)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("genoconv-mimi", "genoconv-mini"),
        ("hyenadna-tiny", "hyenadna-tiny-1k"),
        ("tiny-1k", "hyenadna-tiny-1k"),
        ("HyenaDNA-Large-1M", "hyenadna-large-1m"),
        ("hyenadna-medium-450k-seqlen-hf", "hyenadna-medium-450k"),
    ],
)
def test_an_unknown_name_suggests_near_ones(builtin: Path, typed: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        names.resolve(typed)
    assert meant in caught.value.fix
    assert "genoconv models list" in caught.value.fix


@pytest.mark.parametrize("typed", ["", "what is this", "zebrafish", "x" * 5000, "nul\0"])
def test_a_name_like_no_other(typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        names.resolve(typed)
    assert "did you mean" not in caught.value.fix
    assert "genoconv models list" in caught.value.fix


@pytest.mark.parametrize("typed", ["hyenadna-tiny-1k@", "@main"])
def test_half_a_revision(typed: str) -> None:
    with pytest.raises(UsageError, match="NAME@REVISION"):
        names.resolve(typed)


def test_two_revisions() -> None:
    with pytest.raises(UsageError, match="two different revisions"):
        names.resolve("hyenadna-tiny-1k@main", revision="other")


def test_a_revision_of_something_that_has_none(builtin: Path, tmp_path: Path) -> None:
    for name in (f"{names.DEFAULT_MODEL}@main", str(make_model(tmp_path / "mine"))):
        with pytest.raises(UsageError, match="revision"):
            names.resolve(name, revision="main")


def test_the_catalogue_is_well_formed() -> None:
    assert len(PUBLIC_MODELS) == 7
    for name, model in PUBLIC_MODELS.items():
        assert model.name == name
        assert model.repository.startswith("LongSafari/hyenadna-")
        assert model.repository.endswith("-hf")
        assert len(bytes.fromhex(model.revision)) == 20
        assert len(bytes.fromhex(model.sha256)) == 32
    for values in ({model.revision for model in PUBLIC_MODELS.values()}, {m.sha256 for m in PUBLIC_MODELS.values()}):
        assert len(values) == len(PUBLIC_MODELS)


def test_the_catalogue_gives_the_sizes_that_the_shapes_give() -> None:
    for model in PUBLIC_MODELS.values():
        d, d_inner, taps = model.d_model, 4 * model.d_model, model.l_max
        mixer = 3 * d * d + 3 * d + d * d + d + 12 * d + d + 64 * 5 + 2 * 64 * 64 + 4 * 64 + 64 * d + 6 * taps + d
        block = mixer + 4 * d + 2 * d * d_inner + d_inner + d
        megabytes = 4 * (model.n_layer * block + 2 * 16 * d + 2 * d) / 1e6
        assert model.megabytes == pytest.approx(megabytes, rel=0.01)


def test_the_list_has_built_in_models_first(builtin: Path) -> None:
    lines = names.list_models()
    assert [line.name for line in lines] == [names.DEFAULT_MODEL, "another", *PUBLIC_MODELS]
    first = lines[0]
    assert (first.kind, first.available, first.l_max, first.megabytes) == ("built-in", True, 34, 0.003)


def test_pull_of_a_model_that_is_here(builtin: Path) -> None:
    assert names.pull(names.DEFAULT_MODEL) == names.resolve(names.DEFAULT_MODEL)


def test_file_sha256_follows_changes(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    for content in (b"one", b"another"):
        file.write_bytes(content)
        assert names.file_sha256(file) == hashlib.sha256(content).hexdigest()


def test_local_models_need_no_hub_client(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "mine")
    script = (
        "import sys; from genoconv.model import names; names.resolve(sys.argv[1]); "
        "sys.exit(bool({'huggingface_hub', 'torch'} & set(sys.modules)))"
    )
    root = str(Path(names.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", script, str(folder)], cwd=root, check=False, timeout=60)
    assert done.returncode == 0
