"""From a model's name or path to what is worth knowing about it, without a large download."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genoconv.model import names
from genoconv.model.catalogue import PUBLIC_MODELS
from genoconv.model.files import CARD_FILES, file_sha256


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What `genoconv models show` tells.

    Attributes:
        name: What to type after --model.
        kind: "built-in", "public" or "path".
        available: Whether it is on this machine; if not, only what is published about it is told.
        d_model: Width of the embeddings.
        n_layer: Number of blocks.
        l_max: Longest trained input, in tokens.
        bytes: Size of the weight file; None if it is not here.
        sha256: Of the weight file: as it is, or as it must be.
        parameters: Number of trained numbers; None if the model is not here.
        weights: The weight file; None if it is not here.
        repository: The hub repository, if any.
        revision: The commit, if any.
        config: The fields of the configuration, under the names of the public models; None if the model is not here.
        card: The description that lies beside the weights, in Markdown, if any.
    """

    name: str
    kind: names.Kind
    available: bool
    d_model: int
    n_layer: int
    l_max: int
    bytes: int | None = None
    sha256: str | None = None
    parameters: int | None = None
    weights: Path | None = None
    repository: str | None = None
    revision: str | None = None
    config: dict[str, Any] | None = None
    card: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The attributes as plain JSON values."""
        return asdict(self) | {"weights": self.weights and str(self.weights)}


def describe(name_or_path: str, *, report: names.Report | None = None) -> ModelDescription:
    """Describe a model; a public one that is not in the cache is described by what is published, not downloaded.

    Args:
        name_or_path: As names.resolve takes it.
        report: Told about a download (only a hub repository that is not a public model is downloaded).

    Raises:
        GenoconvError: As names.resolve; ModelError if the file is not a HyenaDNA model.
    """
    public = PUBLIC_MODELS.get(name_or_path)
    if public is not None and not _is_cached(public.repository, public.revision):
        return ModelDescription(
            name=public.name,
            kind="public",
            available=False,
            d_model=public.d_model,
            n_layer=public.n_layer,
            l_max=public.l_max,
            sha256=public.sha256,
            repository=public.repository,
            revision=public.revision,
        )
    return _describe_here(names.resolve(name_or_path, report=report))


def _describe_here(model: names.ResolvedModel) -> ModelDescription:
    """Describe a model that is on this machine."""
    from genoconv.model.pretrained import load_model

    loaded = load_model(model.path)
    config = loaded.config
    return ModelDescription(
        name=model.name,
        kind=model.kind,
        available=True,
        d_model=config.d_model,
        n_layer=config.n_layer,
        l_max=config.l_max,
        bytes=model.weights.stat().st_size,
        sha256=file_sha256(model.weights),
        parameters=sum(parameter.numel() for parameter in loaded.parameters()),
        weights=model.weights,
        repository=model.repository,
        revision=model.revision,
        config=config.to_dict(),
        card=_card(model.weights.parent),
    )


def _card(folder: Path) -> str | None:
    """The description beside the weights."""
    found = (folder / name for name in CARD_FILES)
    return next((card.read_text(encoding="utf-8") for card in found if card.is_file()), None)


def _is_cached(repository: str, revision: str) -> bool:
    """Whether a public model is in the hub's cache."""
    from genoconv.model import hub

    return hub.is_cached(repository, revision)
