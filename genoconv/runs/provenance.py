"""What made a file: versions, model, settings, inputs, what was replaced and what failed; as plain JSON values."""

import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

import torch

from genoconv import __version__
from genoconv.kernels import backend_for
from genoconv.model.files import file_sha256
from genoconv.model.half import operands
from genoconv.runs.devices import describe
from genoconv.runs.job import Engine, Job

FREE = ("model", "layers", "device", "threads", "batch_bases", "max_memory", "fail_fast", "commit_every")
"""Settings that do not decide the numbers, or that are compared by what they mean (the model's checksum)."""


def description(job: Job) -> dict[str, Any]:
    """Describe a run before it computes: all that decides its numbers, and where they come from."""
    shard = None
    if job.shard.count > 1:
        shard = {"index": job.shard.index, "count": job.shard.count, "unit_bases": job.unit_bases}
    described = {
        "genoconv": __version__,
        "model": {
            "name": job.source.name,
            "kind": job.source.kind,
            "repository": job.source.repository,
            "revision": job.source.revision,
            "sha256": file_sha256(job.source.weights),
            "config": job.engine.model.config.to_dict(),
        },
        "settings": asdict(job.settings)
        | {
            "layers_counted_from_0": list(job.engine.layers),
            "precision": job.engine.precision,
            "products": operands(job.engine.precision, job.engine.device),
        },
        "shard": shard,
        "input": {
            "sha256": dict(job.inputs.file_sha256),
            "records": len(job.inputs.ids) + len(job.inputs.failures),
            "records_sha256": job.inputs.records_sha256,
            "replaced_letters": dict(job.inputs.replaced),
            "lowercase_letters": job.inputs.lowercase,
        },
    }
    plain: dict[str, Any] = json.loads(json.dumps(described))  # lists for tuples, as a later start will read it
    return plain


def provenance(job: Job, *, seconds: float, computed_by: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Describe a run for the file it made; times and machine are here and nowhere else in the file.

    Args:
        job: The run.
        seconds: Its time, since the last start.
        computed_by: What computed each part of the rows.
    """
    distinct = {json.dumps(about, sort_keys=True): dict(about) for about in computed_by}
    return description(job) | {
        "compute": [distinct[key] for key in sorted(distinct)],
        "deviation": None if job.deviation is None else asdict(job.deviation),
        "failures": [asdict(failure) for failure in job.failures],
        "recomputed": recomputed(job),
        "versions": versions(),
        "command": sys.argv,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
    }


def computes(engine: Engine) -> dict[str, Any]:
    """What computes: device, precision, what operands of products with weights are rounded to, backend."""
    return {
        "device": describe(engine.device),
        "precision": engine.precision,
        "products": operands(engine.precision, engine.device),
        "convolution": convolution(engine),
    }


def recomputed(job: Job) -> list[dict[str, Any]]:
    """The records that half precision did not hold, and that were therefore computed in float32."""
    return [{"id": job.inputs.ids[row], "row": row, "reason": reason} for row, reason in job.recomputed.items()]


def convolution(engine: Engine) -> str:
    """The backend of the convolutions: a name to announce and to record."""
    return "triton" if engine.demand.by_kernels else backend_for(engine.device, torch.float32)


def versions() -> dict[str, str]:
    """The versions that may matter for the numbers."""
    return {"python": platform.python_version()} | {name: _version(name) for name in ("torch", "numpy", "h5py")}


_version = cache(version)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What makes two runs differ in their numbers, in words; an empty list means that one can go on for the other.

    Args:
        before: The description or provenance of one run.
        now: That of the other.
    """
    one, other = ({name: (value, shown) for name, value, shown in _identity(run)} for run in (before, now))
    absent = (None, _short(None))
    found = [
        f"{name} was {one.get(name, absent)[1]}, now it is {other.get(name, absent)[1]}"
        for name in dict.fromkeys([*one, *other])
        if one.get(name, absent)[0] != other.get(name, absent)[0]
    ]
    named = [line for line in found if not line.startswith("the records")]
    return named or found


def _identity(described: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Names and values of all that decides the numbers of a run, and the values in words."""
    model, inputs = described.get("model", {}), described.get("input", {})
    settings, shard = described.get("settings", {}), described.get("shard") or {}
    files = sorted(inputs.get("sha256", {}).items())
    plain = {
        "genoconv": described.get("genoconv"),
        **{f"the setting {name}": value for name, value in settings.items() if name not in FREE},
        **{f"the shard's {name}": value for name, value in shard.items()},
    }
    weights = str(model.get("sha256"))
    yield "the model", weights, f"{model.get('name')} (sha256 {weights[:8]}...)"
    yield "the model's config.json", model.get("config"), _short(model.get("config"))
    yield from ((name, value, _short(value)) for name, value in plain.items())
    yield "the input", files, ", ".join(f"{name} (sha256 {digest[:8]}...)" for name, digest in files)
    yield (
        "the records (their order, names or letters)",
        inputs.get("records_sha256"),
        _short(inputs.get("records_sha256")),
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else text[:157] + "..."
