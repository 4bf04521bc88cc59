"""From what a person types after --model to a folder or file of weights: built-in, public, or their own."""

import difflib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genoconv.errors import ModelError, UsageError
from genoconv.model.catalogue import PUBLIC_MODELS, PublicModel
from genoconv.model.config import HyenaConfig
from genoconv.model.files import CONFIG_FILE, file_sha256, nothing_at, weights_file

__all__ = [
    "DEFAULT_MODEL",
    "ModelSummary",
    "ResolvedModel",
    "file_sha256",
    "list_models",
    "pull",
    "resolve",
    "weights_file",
]

DEFAULT_MODEL = "genoconv-mini"
"""The built-in model that is used when none is named."""

BUILTIN_FOLDER = Path(__file__).parent / "builtin"
"""Each folder in it that holds a config.json and weights is a built-in model."""

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
    path = _existing(name_or_path)
    name, revision = _split_revision(name_or_path, revision, is_path=path is not None)
    public = PUBLIC_MODELS.get(name) or _BY_REPOSITORY.get(name)
    if revision is not None and public is None and (name in builtin or path is not None):
        raise UsageError(
            f"only models of the Hugging Face hub have revisions, and {name} is not one of them",
            where=f"model {name_or_path}",
            fix="leave the revision out",
        )
    if name in builtin:
        return ResolvedModel(name, builtin[name], None, "built-in")
    if public is None and path is not None:
        weights_file(path)
        return ResolvedModel(name_or_path, path, None, "path")
    if public is None and not _REPOSITORY.fullmatch(name):
        raise _unknown(name)
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
        config = HyenaConfig.from_dict(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
        megabytes = weights_file(folder).stat().st_size / 1e6
        lines.append(ModelSummary(name, "built-in", config.d_model, config.n_layer, config.l_max, megabytes, True))
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


def _builtin_folders() -> dict[str, Path]:
    """The built-in models by name, the default one first."""
    folders = {config.parent.name: config.parent for config in BUILTIN_FOLDER.glob(f"*/{CONFIG_FILE}")}
    return {name: folders[name] for name in sorted(folders, key=lambda name: (name != DEFAULT_MODEL, name))}


def _existing(typed: str) -> Path | None:
    """What was typed, as a path, if there is something at it."""
    try:
        path = Path(typed).expanduser()
        return path if typed and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # a name too long for a path, ~nobody, a NUL
        return None


def _split_revision(typed: str, revision: str | None, *, is_path: bool) -> tuple[str, str | None]:
    """Take NAME@REVISION apart; a path may contain an @ of its own."""
    name, at, written = typed.rpartition("@")
    if not at or is_path or _looks_like_path(typed):
        return typed, revision
    if not name or not written:
        raise UsageError(
            f"a revision is written as NAME@REVISION, not {typed}",
            where=f"model {typed}",
            fix="put the branch, tag or commit behind the @",
        )
    if revision is not None and revision != written:
        raise UsageError(
            f"two different revisions were asked for: {written} and {revision}",
            where=f"model {typed}",
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


def _unknown(name: str) -> ModelError | UsageError:
    """The error for a name or path that leads nowhere, with what may have been meant."""
    if _looks_like_path(name):
        return nothing_at(name)
    known = [*_builtin_folders(), *PUBLIC_MODELS]
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    near += [model for model in known if name and name.lower() in model and model not in near]
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(
        f"no model is called {name!r}, and no file or folder either",
        where=f"model {name}",
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
