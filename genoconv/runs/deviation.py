"""Filters with something left out -> how far the states of a record are from those of the whole model."""

from dataclasses import dataclass, replace

import torch

from genoconv.inputs.tokens import encode
from genoconv.model.half import HalfPrecisionOverflowError
from genoconv.model.spectra import ALL
from genoconv.runs.compute import states
from genoconv.runs.job import Job

SAMPLE_BASES = {"cpu": 1 << 15, "cuda": 1 << 20}
"""Bases that are compared at most: some seconds of work."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """What leaving out parts of the filters changes, in one record.

    Attributes:
        record: Its id.
        bases: How many of its bases, from the first, were compared.
        relative_error: Of the states of the first layer asked for: L2 norm of the difference over that of the states.
        cosine: Between their means with and without.
    """

    record: str
    bases: int
    relative_error: float
    cosine: float


def deviation(job: Job) -> Deviation | None:
    """Compare the longest record of the first pool, or its beginning, with the whole model.

    Returns:
        None for whole filters, and where half precision does not hold the numbers: then the record itself will fail.
    """
    if job.settings.kept == ALL:
        return None
    wanted = set(job.rows.tolist())
    rows = [row for unit in next(iter(job.pools), []) for row in unit.tolist() if row in wanted]
    if not rows:
        return None
    longest = max(rows, key=lambda row: int(job.inputs.lengths[row]))
    record = next(record for row, record in enumerate(job.inputs.records()) if row == longest)
    most = min(SAMPLE_BASES[job.engine.device.type], job.engine.batch_bases)
    ids = torch.from_numpy(encode(record.sequence)[None, :most])
    engine = replace(job.engine, layers=job.engine.layers[:1])
    whole = replace(engine, settings=replace(job.settings, filter_length=None, frequency_sparsity=0.0))
    try:
        (cut,) = (hidden.clone() for _, hidden in states(engine, ids))
        (full,) = (hidden for _, hidden in states(whole, ids))
    except HalfPrecisionOverflowError:
        return None
    error = float((cut - full).norm() / full.norm())
    mean, full_mean = (hidden.double().mean(dim=1) for hidden in (cut, full))
    return Deviation(record.id, ids.shape[1], error, float(torch.cosine_similarity(mean, full_mean)))
