"""From a repository of the Hugging Face hub to checked files in its local cache; alone imports huggingface_hub.

Only config.json and one weight file are ever fetched, no code. The client's own settings (HF_HOME, HF_ENDPOINT,
HF_TOKEN, HF_HUB_OFFLINE, proxies) are honoured. A pinned commit that is in the cache needs no network at all.
"""

import contextlib
import logging
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from genoconv.errors import EnvironmentProblem, GenoconvError, ModelError
from genoconv.model import hub_errors
from genoconv.model.files import CONFIG_FILE, WEIGHT_FILES, file_sha256

Report = Callable[[str], None]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRIES = 3
"""How often a transfer is begun or continued, besides the client's own attempts (its older versions make none)."""
_ROOM = 1.02
"""Free space asked for before a download, as a multiple of the file's size."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model's files in the cache.

    Attributes:
        folder: Holds config.json and the weights.
        commit: The commit of the repository that they are from, in full.
        weights: The weight file, checked.
    """

    folder: Path
    commit: str
    weights: Path


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is being fetched, as the messages name it."""

    repository: str
    revision: str
    sha256: str | None

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True)
class _Offer:
    """What the server says of a file.

    Attributes:
        commit: The commit that the revision stands for.
        sha256: Of a large file's bytes; None for a small one, which the hub knows by another sum.
        size: Bytes, if the server says.
    """

    commit: str
    sha256: str | None
    size: int | None


def fetch(
    repository: str,
    *,
    revision: str,
    sha256: str | None = None,
    offline: bool | None = None,
    report: Report | None = None,
    progress: bool = True,
) -> Snapshot:
    """Bring a model's config.json and weights into the cache, unless they are there, and check the weights.

    The weights must have the SHA-256 that is pinned here, or else the one that the server reports; a file that has
    not is deleted from the cache.

    Args:
        repository: ORGANISATION/REPOSITORY.
        revision: Branch, tag or full commit.
        sha256: What the weights must hash to, if known beforehand.
        offline: Never use the network; None = as HF_HUB_OFFLINE says.
        report: Told what is being downloaded, one line at a time.
        progress: Whether the client may draw its progress bar (it does so on a terminal only).

    Returns:
        The files.

    Raises:
        ModelError: No such repository, revision or file; wrong checksum; not cached while offline.
        UsageError: Not a repository name.
        EnvironmentProblem: No network, no disk space, no permission.
    """
    wanted = _Wanted(repository, revision, sha256)
    say = report or _silent
    with _calm(progress=progress):
        cached = _cached(wanted, say)
        if constants.HF_HUB_OFFLINE if offline is None else offline:
            if cached is None:
                raise _not_cached(wanted)
            return cached
        if cached is not None and _COMMIT.fullmatch(revision):
            return cached
        try:
            offer = _ask(wanted, CONFIG_FILE, revision)
        except GenoconvError as error:
            if cached is None or not isinstance(error, EnvironmentProblem):
                raise
            say(f"{error.what}; using the cached copy of {wanted}, commit {cached.commit}")
            return cached
        if cached is not None and cached.commit == offer.commit:
            return cached
        return _download(wanted, offer, say)


def is_cached(repository: str, revision: str) -> bool:
    """Whether a model's config.json and weights are in the cache (their contents are not looked at)."""
    if not isinstance(try_to_load_from_cache(repository, CONFIG_FILE, revision=revision), str):
        return False
    return any(isinstance(try_to_load_from_cache(repository, name, revision=revision), str) for name in WEIGHT_FILES)


def _cached(wanted: _Wanted, say: Report) -> Snapshot | None:
    """The files as they are in the cache, checked; None if some are missing, or damaged (and now removed)."""
    config = _in_cache(wanted, CONFIG_FILE)
    weights = next(filter(None, (_in_cache(wanted, name) for name in WEIGHT_FILES)), None)
    if config is None or weights is None or weights.parent != config.parent:
        return None
    # The client names a large file in its cache after the SHA-256 that the server reported for it.
    stored = weights.readlink().name if weights.is_symlink() else ""
    expected = wanted.sha256 or (stored if _SHA256.fullmatch(stored) else None)
    if expected and file_sha256(weights) != expected:
        _discard(weights)
        say(f"the cached {weights.name} of {wanted} was damaged and has been removed")
        return None
    return Snapshot(config.parent, config.parent.name, weights)


def _in_cache(wanted: _Wanted, name: str) -> Path | None:
    """A file of the cache, if it is there."""
    with _explained(wanted, name):
        found = try_to_load_from_cache(wanted.repository, name, revision=wanted.revision)
    return Path(found) if isinstance(found, str) else None


def _download(wanted: _Wanted, offer: _Offer, say: Report) -> Snapshot:
    """Fetch the config and the weights of the commit that the server offers, and check the weights."""
    config = _transfer(wanted, CONFIG_FILE, wanted.revision)
    for name in WEIGHT_FILES:
        try:
            weights_offer = _ask(wanted, name, offer.commit)
        except EntryNotFoundError:
            continue
        _check_room(wanted, name, weights_offer.size)
        size = f" ({weights_offer.size / 1e6:,.1f} MB)" if weights_offer.size else ""
        say(f"downloading {name}{size} of {wanted} into {constants.HF_HUB_CACHE}")
        weights = _transfer(wanted, name, offer.commit)
        expected = wanted.sha256 or weights_offer.sha256
        if expected:
            _check_sum(wanted, weights, expected)
        say(f"downloaded {wanted.repository}, commit {offer.commit}")
        return Snapshot(config.parent, offer.commit, weights)
    raise ModelError(
        f"the repository holds none of {', '.join(WEIGHT_FILES)}",
        where=str(wanted),
        fix="check that it is a HyenaDNA model; the public ones: genoconv models list",
    )


def _ask(wanted: _Wanted, name: str, revision: str) -> _Offer:
    """Ask the server about a file, without fetching it.

    Raises:
        EntryNotFoundError: The repository has no such weight file.
        GenoconvError: Anything else that is in the way.
    """
    url = hf_hub_url(wanted.repository, name, revision=revision)
    with _explained(wanted, name, may_be_missing=name != CONFIG_FILE):
        metadata = get_hf_file_metadata(url)
    if metadata.commit_hash is None or metadata.etag is None:
        raise EnvironmentProblem(
            f"{constants.ENDPOINT} does not answer like a Hugging Face hub",
            where=url,
            fix="check HF_ENDPOINT, and whether a proxy or a login page of the network is in between",
        )
    sha256 = metadata.etag if _SHA256.fullmatch(metadata.etag) else None
    return _Offer(metadata.commit_hash, sha256, metadata.size)


def _transfer(wanted: _Wanted, name: str, revision: str) -> Path:
    """Fetch one file through the client into its cache; one that broke off is continued where it stopped."""
    for _ in range(_TRIES - 1):
        try:
            return Path(hf_hub_download(wanted.repository, name, revision=revision))
        except Exception as error:
            if not hub_errors.broke_off(error):
                raise hub_errors.explain(error, str(wanted), name) from error
    with _explained(wanted, name):
        return Path(hf_hub_download(wanted.repository, name, revision=revision))


def _check_sum(wanted: _Wanted, weights: Path, expected: str) -> None:
    """Compare the weights with what they must hash to; a wrong file is deleted, so that nothing can load it."""
    found = file_sha256(weights)
    if found == expected:
        return
    _discard(weights)
    raise ModelError(
        f"wrong checksum: {weights.name} should have SHA-256 {expected}, but what arrived has {found}",
        where=f"{wanted} from {constants.ENDPOINT}",
        fix="the file was deleted; try again, and if it happens again do not trust that server or proxy",
    )


def _check_room(wanted: _Wanted, name: str, size: int | None) -> None:
    """Refuse a download that cannot fit on the disk."""
    cache = Path(constants.HF_HUB_CACHE)
    existing = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if size is not None and free < size * _ROOM:
        raise EnvironmentProblem(
            f"{name} of {wanted} needs {size / 1e6:,.1f} MB, but only {free / 1e6:,.1f} MB are free",
            where=str(cache),
            fix="free some space, or set HF_HOME to a folder on another disk",
        )


def _discard(pointer: Path) -> None:
    """Delete a file of the cache: the link in the snapshot and what it leads to."""
    path = pointer
    while path.is_symlink():
        target = path.parent / path.readlink()
        path.unlink()
        path = target
    path.unlink(missing_ok=True)


def _not_cached(wanted: _Wanted) -> ModelError:
    """The error for a model that would have to be downloaded, while nothing may be."""
    return ModelError(
        f"the model {wanted.repository} is not in the cache, and downloads are switched off (offline)",
        where=f"revision {wanted.revision}, cache {constants.HF_HUB_CACHE}",
        fix=f"where there is a network, run: genoconv models pull {wanted}; with the same HF_HOME, or copy that folder",
    )


@contextlib.contextmanager
def _explained(wanted: _Wanted, name: str, *, may_be_missing: bool = False) -> Iterator[None]:
    """Turn whatever the client raises into what a person can act on."""
    try:
        yield
    except Exception as error:
        absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
        if may_be_missing and absent:
            raise
        raise hub_errors.explain(error, str(wanted), name) from error


@contextlib.contextmanager
def _calm(*, progress: bool) -> Iterator[None]:
    """Keep the client's warnings and hints (links, missing tokens, retries) off the screen; what matters is raised.

    Nor does the client tell the server which other packages are installed here.
    """
    verbosity, telemetry_off = hub_logging.get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY
    hide_bars = not progress and not are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hub_logging.set_verbosity(logging.ERROR)
        constants.HF_HUB_DISABLE_TELEMETRY = True
        if hide_bars:
            disable_progress_bars()
        try:
            yield
        finally:
            hub_logging.set_verbosity(verbosity)
            constants.HF_HUB_DISABLE_TELEMETRY = telemetry_off
            if hide_bars:
                enable_progress_bars()


def _silent(line: str) -> None:
    """Report nothing."""
