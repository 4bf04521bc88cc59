"""The files that make up a model: a config.json, weights, perhaps a card; where they are and what they hash to."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from genoconv.errors import ModelError

CONFIG_FILE = "config.json"
CARD_FILES = ("CARD.md", "README.md")
"""Names of a model's description in Markdown, the preferred one first."""
WEIGHT_FILES = ("model.safetensors", "weights.ckpt")
"""Names under which a model folder or a hub repository keeps its weights, the preferred one first."""


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
        raise nothing_at(path)
    found = [path / name for name in WEIGHT_FILES if (path / name).is_file()]
    if not found or not (path / CONFIG_FILE).is_file():
        raise ModelError(
            f"a model folder holds {CONFIG_FILE} and one of {', '.join(WEIGHT_FILES)}; this folder does not",
            where=str(path),
            fix="give the folder or the weight file of a HyenaDNA model, or a name from: genoconv models list",
        )
    return found[0]


def nothing_at(path: str | Path) -> ModelError:
    """The error for a model path where there is nothing."""
    return ModelError(
        "there is no such file or folder",
        where=str(path),
        fix="check the path, or use a name from: genoconv models list",
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; remembered for as long as the file does not change."""
    stat = path.stat()
    return _sha256(os.path.realpath(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, modified_ns: int) -> str:
    """Hash a file; its size and time of change are only part of the key of the cache."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
