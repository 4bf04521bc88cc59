"""Speeds of the kernels on this GPU: from its file in the user's cache folder, if there is one, or as shipped.

The file is written by `genoconv bench plan --measure` and by nothing else, so that no run begins with a measurement.
Without it plans are made for the H200: other GPUs differ in speed, much less in which plan is the fastest.
"""

import json
import logging
import os
import re
from dataclasses import asdict, fields
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from genoconv.kernels.monarch.plan import H200, Rates

FORMAT = 8
"""Of the files; raised when kernels change so much that old measurements mislead."""

_log = logging.getLogger(__name__)


class _StaleError(Exception):
    """Rates that were measured on or with something else."""


@lru_cache(maxsize=16)
def rates_for(device: torch.device) -> Rates:
    """The rates to plan with on a device; the file is read once (`rates_for.cache_clear` forgets it)."""
    if device.type != "cuda":
        return H200
    name = torch.cuda.get_device_name(device)
    return read(cache_file(name), name) or H200


def cache_file(name: str) -> Path:
    """Where the rates of a GPU of this name are kept."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "genoconv" / "rates" / (re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") + ".json")


def read(path: Path, name: str) -> Rates | None:
    """Rates of the GPU `name` from a file; None if there is none, or (with a note in the log) none that can be used."""
    try:
        return _from_plain(json.loads(path.read_text(encoding="utf-8")), name)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except _StaleError as error:
        reason = str(error)
    except (KeyError, TypeError, ValueError, AttributeError):
        reason = "is damaged"
    _log.warning("%s %s and is ignored; `genoconv bench plan --measure` makes a new one", path, reason)
    return None


def write(path: Path, rates: Rates) -> None:
    """Writes rates, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"measured": _surroundings(rates.device), "rates": asdict(rates)}
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
    rates_for.cache_clear()


def _surroundings(name: str) -> dict[str, Any]:
    """What rates depend on, and a file of them must agree with."""
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "none"
    return {"format": FORMAT, "GPU": name, "torch": torch.__version__, "triton": triton}


def _from_plain(content: dict[str, Any], name: str) -> Rates:
    """Rates from what `write` and JSON made of them (keys of tables became text)."""
    stale = [key for key, value in _surroundings(name).items() if content["measured"].get(key) != value]
    if stale:
        raise _StaleError(f"was measured with another {', '.join(stale)}")
    plain = content["rates"]
    values: dict[str, Any] = {"device": name}
    for field in fields(Rates):
        shipped, found = getattr(H200, field.name), plain[field.name]
        if isinstance(shipped, dict):
            values[field.name] = {key: _rate(found[str(key)]) for key in shipped}
        elif isinstance(shipped, tuple):
            values[field.name] = tuple(_rate(number) for number in found)
            if len(found) != len(shipped):
                raise ValueError(field.name)
        elif not isinstance(shipped, str):
            values[field.name] = type(shipped)(_rate(found))
    return Rates(**values)


def _rate(number: Any) -> float:
    """The number, if it is one that a rate can be."""
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0.0 <= number < float("inf"):
        raise ValueError(number)
    return float(number)
