"""What made a file: versions, model, settings, inputs, what was replaced and what failed; as plain JSON values."""

import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from genoconv import __version__
from genoconv.kernels import backend_for
from genoconv.model.files import file_sha256
from genoconv.runs.devices import describe
from genoconv.runs.job import Job


def provenance(job: Job, *, seconds: float) -> dict[str, Any]:
    """Describe a run for the file it made; times and machine are here and nowhere else in the file."""
    return {
        "genoconv": __version__,
        "model": {
            "name": job.source.name,
            "kind": job.source.kind,
            "repository": job.source.repository,
            "revision": job.source.revision,
            "sha256": file_sha256(job.source.weights),
            "config": job.model.config.to_dict(),
        },
        "settings": asdict(job.settings) | {"layers_counted_from_0": list(job.layers)},
        "compute": {
            "device": describe(job.device),
            "dtype": "float32",
            "convolution": backend_for(job.device, torch.float32),
        },
        "input": {
            "sha256": dict(job.inputs.file_sha256),
            "records": len(job.inputs.ids) + len(job.inputs.failures),
            "replaced_letters": dict(job.inputs.replaced),
            "lowercase_letters": job.inputs.lowercase,
        },
        "failures": [asdict(failure) for failure in job.failures],
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "h5py")},
        "command": sys.argv,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
    }
