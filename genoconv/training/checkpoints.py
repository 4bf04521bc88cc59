"""A training run, whole, in one file: weights, optimiser, position, random state; written aside and renamed."""

import os
from pathlib import Path
from typing import Any

import torch

from genoconv.errors import InputError, OutputError

CHECKPOINT = "checkpoint.pt"
FORMAT = 2


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a crash leaves the old one or the new one, never half of one.

    Args:
        folder: The run's folder.
        state: Tensors and plain values.

    Raises:
        OutputError: The disk refuses.
    """
    final = folder / CHECKPOINT
    aside = folder / f".{CHECKPOINT}.part"
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    try:
        with aside.open("wb") as file:
            torch.save({"format": FORMAT, "random": random, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(final)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OutputError(f"the checkpoint cannot be written: {error}", where=str(final)) from error


def load(folder: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint and restore the random state.

    Args:
        folder: The run's folder.
        device: Where the tensors go.

    Raises:
        InputError: There is none, or it is damaged or of another version.
    """
    path = folder / CHECKPOINT
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise InputError("there is no checkpoint to go on from", where=str(path), fix="leave out --resume") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise InputError(
            f"the checkpoint is damaged: {error}", where=str(path), fix="train into a new folder"
        ) from error
    if state.get("format") != FORMAT:
        raise InputError("the checkpoint is of another version", where=str(path), fix="train into a new folder")
    random = state.pop("random")
    torch.set_rng_state(random["cpu"].cpu())
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"].cpu())
    return state
