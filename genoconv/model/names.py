"""From what a person types after --model to a folder or file of weights: built-in, public, or their own."""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from genoconv.errors import ModelError, UsageError
from genoconv.model.catalogue import PUBLIC_MODELS, PublicModel

DEFAULT_MODEL = "genoconv-mini"
"""The built-in model that is used when none is named."""

BUILTIN_FOLDER = Path(__file__).parent / "builtin"
"""Each folder in it that holds a config.json and weights is a built-in model."""

CONFIG_FILE = "config.json"
CARD_FILE = "CARD.md"
WEIGHT_FILES = ("model.safetensors", "weights.ckpt")
"""Names under which a model folder or a hub repository keeps its weights, the preferred one first."""

Kind = Literal["built-in", "public", "path"]
Report = Callable[[str], None]


_BY_REPOSITORY = {model.repository: model for model in PUBLIC_MODELS.values()}
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that is on this machine.

    Attributes:
        name: What it is called: a built-in or public name, a hub repository, or the path as it was given.
        path: Folder (config.json + weights) or weight file; what load_model takes.
        revision: The hub commit that the files are from; None for built-in models and paths.
        kind: Where it came from.
        repository: The hub repository, if any.
    """

    name: str
    path: Path
    revision: str | None
    kind: Kind
    repository: str | None = None

    @property
    def weights(self) -> Path:
        """The file that holds the weights."""
        return weights_file(self.path)

    @property
    def config(self) -> Path:
        """The config.json that belongs to the weights (it may be missing where a single file was given)."""
        return (self.path.parent if self.path.is_file() else self.path) / CONFIG_FILE


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One line of `genoconv models list`.

    Attributes:
        name: What to type after --model.
        kind: Where it comes from.
        d_model: Width of the embeddings.
        n_layer: Number of blocks.
        l_max: Longest trained input, in tokens.
        megabytes: Size of the weights (10^6 bytes).
        available: Whether it can be used now without a download.
        repository: The hub repository, if any.
        revision: The pinned commit, if any.
    """

    name: str
    kind: Kind
    d_model: int
    n_layer: int
    l_max: int
    megabytes: float
    available: bool
    repository: str | None = None
    revision: str | None = None


def resolve(
    name_or_path: str,
    *,
    revision: str | None = None,
    offline: bool | None = None,
    report: Report | None = None,
    progress: bool = True,
) -> ResolvedModel:
    """Find a model on this machine, downloading it first if it is a public one that is not in the cache.

    Looked for in this order: a built-in name; a public name or its hub repository (NAME@REVISION for another commit
    than the pinned one); a folder or file; any other hub repository, as ORGANISATION/REPOSITORY[@REVISION].
    A folder called like a built-in or public model is reached as ./NAME.

    Args:
        name_or_path: What the person typed.
        revision: Branch, tag or commit on the hub; the same as NAME@REVISION.
        offline: Never use the network; None = as HF_HUB_OFFLINE says.
        report: Told what is being downloaded, one line at a time.
        progress: Whether a download may draw a progress bar (it only does so on a terminal).

    Returns:
        Where the model is.

    Raises:
        UsageError: No such name, or a revision for something that has none.
        ModelError: The model is not there, not in the cache while offline, or damaged.
        EnvironmentProblem: The network or the disk failed.
    """
    builtin = _builtin_folders()
    typed_path = Path(name_or_path).expanduser()
    name, revision = _split_revision(name_or_path, revision, is_path=typed_path.exists())
    public = PUBLIC_MODELS.get(name) or _BY_REPOSITORY.get(name)
    if name in builtin or (public is None and typed_path.exists()):
        if revision is not None:
            raise UsageError(
                f"only models of the Hugging Face hub have revisions, and {name} is not one of them",
                where=f"--model {name_or_path}",
                fix="leave the revision out",
            )
        if name in builtin:
            return ResolvedModel(name, builtin[name], None, "built-in")
        weights_file(typed_path)
        return ResolvedModel(name_or_path, typed_path, None, "path")
    if public is None and not _REPOSITORY.fullmatch(name):
        raise _unknown(name, looks_like_path=_looks_like_path(name))
    return _from_hub(public, name, revision, offline=offline, report=report, progress=progress)


def pull(
    name: str, *, revision: str | None = None, report: Report | None = None, progress: bool = True
) -> ResolvedModel:
    """Make a model usable without a network: download it unless it is here already; see resolve."""
    return resolve(name, revision=revision, report=report, progress=progress)


def list_models() -> list[ModelSummary]:
    """The built-in models, then the public ones from the smallest to the largest."""
    from genoconv.model import hub

    lines = []
    for name, folder in _builtin_folders().items():
        config = _read_config(folder / CONFIG_FILE)
        megabytes = weights_file(folder).stat().st_size / 1e6
        l_max = config.get("max_seq_len") or config["layer"]["l_max"]
        lines.append(ModelSummary(name, "built-in", config["d_model"], config["n_layer"], l_max, megabytes, True))
    for model in PUBLIC_MODELS.values():
        cached = hub.is_cached(model.repository, model.revision)
        lines.append(
            ModelSummary(
                model.name,
                "public",
                model.d_model,
                model.n_layer,
                model.l_max,
                model.megabytes,
                cached,
                model.repository,
                model.revision,
            )
        )
    return lines


def weights_file(path: Path) -> Path:
    """The weight file of a model.

    Args:
        path: A weight file, or a folder with a config.json and one of WEIGHT_FILES.

    Returns:
        The file.

    Raises:
        ModelError: Nothing is there, or the folder is not a model.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise _unknown(str(path), looks_like_path=True)
    found = [path / name for name in WEIGHT_FILES if (path / name).is_file()]
    if not found or not (path / CONFIG_FILE).is_file():
        raise ModelError(
            f"a model folder holds {CONFIG_FILE} and one of {', '.join(WEIGHT_FILES)}; this folder does not",
            where=str(path),
            fix="give the folder or the weight file of a HyenaDNA model, or a name from: genoconv models list",
        )
    return found[0]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; remembered for as long as the file does not change."""
    stat = path.stat()
    return _sha256(os.path.realpath(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, modified_ns: int) -> str:
    """Hash a file; size and time of change are part of the key of the cache."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _builtin_folders() -> dict[str, Path]:
    """The built-in models by name, the default one first."""
    folders = {config.parent.name: config.parent for config in BUILTIN_FOLDER.glob(f"*/{CONFIG_FILE}")}
    return {name: folders[name] for name in sorted(folders, key=lambda name: (name != DEFAULT_MODEL, name))}


def _split_revision(typed: str, revision: str | None, *, is_path: bool) -> tuple[str, str | None]:
    """Take NAME@REVISION apart; a path may contain an @ of its own."""
    name, at, written = typed.rpartition("@")
    if not at or is_path or _looks_like_path(typed):
        return typed, revision
    if not name or not written:
        raise UsageError(
            f"a revision is written as NAME@REVISION, not {typed}",
            where=f"--model {typed}",
            fix="put the branch, tag or commit behind the @",
        )
    if revision is not None and revision != written:
        raise UsageError(
            f"two different revisions were asked for: {written} and {revision}",
            where=f"--model {typed}",
            fix="give one of them",
        )
    return name, written


def _looks_like_path(typed: str) -> bool:
    """Whether something that is not on the disk was nevertheless meant as a path."""
    return (
        typed.startswith((".", "~", "/", os.sep))
        or typed.endswith((".safetensors", ".ckpt", ".pt", ".bin", ".json", "/"))
        or typed.count("/") > 1
        or "\\" in typed
    )


def _unknown(name: str, *, looks_like_path: bool) -> ModelError | UsageError:
    """The error for a name or path that leads nowhere, with what may have been meant."""
    if looks_like_path:
        return ModelError(
            "there is no such file or folder",
            where=name,
            fix="check the path, or use a name from: genoconv models list",
        )
    known = [*_builtin_folders(), *PUBLIC_MODELS]
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    near += [model for model in known if name and name.lower() in model and model not in near]
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(
        f"no model is called {name!r}, and no file or folder either",
        where=f"--model {name}",
        fix=f"{meant}See: genoconv models list",
    )


def _from_hub(
    public: PublicModel | None,
    name: str,
    revision: str | None,
    *,
    offline: bool | None,
    report: Report | None,
    progress: bool,
) -> ResolvedModel:
    """Resolve a public model, or any other repository of the hub."""
    from genoconv.model import hub

    repository = public.repository if public else name
    pinned = public is not None and revision in (None, public.revision)
    snapshot = hub.fetch(
        repository,
        revision=public.revision if public and pinned else revision or "main",
        sha256=public.sha256 if public and pinned else None,
        offline=offline,
        report=report,
        progress=progress,
    )
    return ResolvedModel(public.name if public else name, snapshot.folder, snapshot.commit, "public", repository)


def _read_config(path: Path) -> dict[str, Any]:
    """A built-in model's config.json."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
