"""The nouns of a run: what was asked for, what was found to do, what failed, what was done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from genoconv.inputs.letters import LetterPolicy
from genoconv.inputs.places import ChromosomePrefix, Region, parse_region, read_regions
from genoconv.inputs.scan import DuplicatePolicy, Scan
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.inference import Precision
from genoconv.model.names import DEFAULT_MODEL, ResolvedModel
from genoconv.model.spectra import Kept
from genoconv.runs.memory import Demand
from genoconv.runs.shards import Shard

if TYPE_CHECKING:
    from genoconv.runs.deviation import Deviation
    from genoconv.runs.workers import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSettings:
    """What decides the numbers in the output, and how they are computed.

    Attributes:
        model: Built-in name, public name, folder or file.
        poolings: How the hidden states of a record become one row; the first one is `X` of the file.
        layers: Which hidden states: 0 the embedding, i the stream after block i, n_layer + 1 the final state; negative
            numbers count from the end. The first one is `X` of the file.
        site: The base that the pooling `site` takes, counted from 1 along the sequence embedded (None: the middle one).
        filter_length: Taps that the long filters are cut to (None: all).
        frequency_sparsity: Part of all frequencies, the highest, that the long filters do without: 0, or from 0.6 on.
        dtype: `f4` or `f2`, the type of the stored numbers.
        tokens: Also write one row per base, of the first layer, to a sibling file.
        device: `auto`, `cpu`, `cuda`, `cuda:N`, `all` GPUs, or several of these with commas.
        threads: CPU threads, of all devices together (None: all that the process may use).
        batch_bases: Padded bases of one batch (None: by device, input and free memory).
        precision: `high` computes in float32, `half` by the fused float16 kernels of a GPU or with products in bfloat16
            on a CPU that has them; `auto`: half where it is possible on a GPU, and float32 for records that overflow
            there; high on a CPU.
        max_memory: Bytes that the run may take on each device (None: most of what is free).
        fail_fast: The first record that fails ends the run.
        commit_every: Seconds after which finished rows are safe on the disk.
        letters: What becomes of letters other than A C G T N.
        duplicates: What becomes of a repeated id: `error`, `first`, `number` or `keep`.
        regions: Stretches (`chr:start-end`, 1-based, inclusive) to embed instead of whole records.
        region_files: BED, GTF or GFF3 files of stretches to embed instead of whole records, after `regions`.
        feature: Which features of a GTF or GFF3 file are taken.
        chr_prefix: `add` or `strip` the `chr` of chromosome names in region files, or `keep` them.
    """

    model: str = DEFAULT_MODEL
    poolings: tuple[str, ...] = ("mean",)
    layers: tuple[int, ...] = (-1,)
    site: int | None = None
    filter_length: int | None = None
    frequency_sparsity: float = 0.0
    dtype: str = "f4"
    tokens: bool = False
    device: str = "auto"
    threads: int | None = None
    batch_bases: int | None = None
    precision: str = "auto"
    max_memory: int | None = None
    fail_fast: bool = False
    commit_every: float = 60.0
    letters: LetterPolicy = field(default_factory=LetterPolicy)
    duplicates: DuplicatePolicy = "error"
    regions: tuple[str, ...] = ()
    region_files: tuple[str, ...] = ()
    feature: str = "gene"
    chr_prefix: ChromosomePrefix = "keep"

    @property
    def kept(self) -> Kept:
        """What is kept of the model's filters."""
        return Kept(self.filter_length, 1.0 - self.frequency_sparsity)


def wanted_regions(settings: EmbedSettings) -> list[Region] | None:
    """The stretches asked for, or None for whole records."""
    if not settings.regions and not settings.region_files:
        return None
    wanted = [parse_region(text) for text in settings.regions]
    for path in settings.region_files:
        wanted += read_regions(path, feature=settings.feature, chr_prefix=settings.chr_prefix)
    return wanted


@dataclass(frozen=True, slots=True)
class Failure:
    """A record without a row: its id, its place in the input, and the reason.

    Attributes:
        id: As in the input.
        where: File and line, or what else helps to find it.
        reason: Why it has no row.
        row: Its place among the good records of the input, or -1 if it is not one of them.
    """

    id: str
    where: str
    reason: str
    row: int = -1


@dataclass(slots=True)
class Engine:
    """What turns a batch into rows: one model on one device.

    Attributes:
        settings: As asked for.
        model: The model, on `device`.
        device: Where it computes.
        precision: How it computes.
        layers: `settings.layers` counted from 0.
        memory: Bytes that it may take beside the model's weights.
        batch_bases: Padded bases that are computed at once; halved when memory runs out.
    """

    settings: EmbedSettings
    model: HyenaDNA
    device: torch.device
    precision: Precision
    layers: tuple[int, ...]
    memory: int
    batch_bases: int

    @property
    def demand(self) -> Demand:
        """What its batches need."""
        return Demand(self.model.config, self.device, self.precision, self.settings.kept)


@dataclass(slots=True)
class Job:
    """A checked request: everything that could refuse it has had its say, and nothing has been computed.

    Attributes:
        settings: As asked for.
        inputs: What the input holds.
        shard: The share of it that is to be done.
        unit_bases: Padded bases of one unit of work.
        pools: Units of the share, each the rows that are computed together, pool by pool of records that are read
            together. A row is a place in `inputs`.
        rows: The rows that are to be in the output, ascending, (n,) int64.
        failures: The records that are not, with the reasons; grows while the job runs.
        source: Where the model came from.
        devices: Where to compute.
        engine: The model on the first of them.
        team: The processes that compute, one for each of several devices, until the run takes them.
        deviation: If parts of the filters are left out: what that changes, once it is known.
        recomputed: Rows computed in float32 after all, and why; known at the end.
    """

    settings: EmbedSettings
    inputs: Scan
    shard: Shard
    unit_bases: int
    pools: Sequence[Sequence[np.ndarray]]
    rows: np.ndarray
    failures: list[Failure]
    source: ResolvedModel
    devices: Sequence[torch.device]
    engine: Engine
    team: "Team | None" = None
    deviation: "Deviation | None" = None
    recomputed: Mapping[int, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """Ids of the rows."""
        return [self.inputs.ids[row] for row in self.rows]

    @property
    def lengths(self) -> np.ndarray:
        """Bases of the rows, (n,) int64."""
        lengths: np.ndarray = self.inputs.lengths[self.rows]
        return lengths


@dataclass(frozen=True, slots=True)
class Summary:
    """What a finished run did.

    Attributes:
        output: The file of embeddings.
        tokens: The file with one row per base, if asked for.
        records: Rows written.
        bases: Bases of these rows.
        resumed: How many of the rows earlier starts had done.
        bases_computed: Bases embedded by this start.
        seconds: Time from the first batch of this start to the finished file.
        failures: Records without a row.
        replaced: Letter as found -> how often it was replaced or dropped.
        found: Whether the output was there already, complete.
    """

    output: Path
    tokens: Path | None
    records: int
    bases: int
    resumed: int
    bases_computed: int
    seconds: float
    failures: Sequence[Failure]
    replaced: Mapping[str, int]
    found: bool = False
