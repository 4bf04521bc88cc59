"""What decides a training run: the model's shape, the data windows, the optimiser; same settings, same run."""

import bisect
import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from genoconv.errors import UsageError

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A share of the steps at one context length.

    Attributes:
        context: Tokens that the model sees at once.
        share: Share of all steps; the shares of all stages add up to 1.
    """

    context: int
    share: float


@dataclass(frozen=True)
class Settings:
    """Everything that decides the loss curve, beside the data and the machine.

    Attributes:
        d_model: Width of the model.
        n_layer: Blocks.
        d_inner: Width inside the MLPs.
        l_max: Taps of the long filters.
        stages: Context lengths in the order in which they are trained.
        batch_bases: Tokens in a step.
        steps: Steps in all.
        learning_rate: Highest rate of AdamW.
        warmup: Share of the steps in which the rate rises; it falls as a cosine to zero after them.
        weight_decay: Of the projections and MLPs; norms, biases, embeddings and filters have none.
        seed: Decides initial weights, order, offsets and strands.
        both_strands: Learn from reverse complements too.
        precision: Of the projections and MLPs; filters, norms and the loss are always float32. With bfloat16 the
            convolutions on a GPU are those of the Triton kernels, otherwise float32.
        start: The model that the weights come from (its weights' sha256), or "" for random ones.
        filter_length: Taps that the long filters are cut to (partial convolution); None leaves all l_max.
        compiled: Whether torch.compile fuses what surrounds the convolutions, and steps are replayed as CUDA graphs.
    """

    d_model: int = 128
    n_layer: int = 4
    d_inner: int = 512
    l_max: int = 32_770
    stages: tuple[Stage, ...] = (Stage(1024, 1.0),)
    batch_bases: int = 131_072
    steps: int = 1000
    learning_rate: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.1
    seed: int = 0
    both_strands: bool = True
    precision: Precision = "float32"
    start: str = ""
    filter_length: int | None = None
    compiled: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        for name in ("steps", "batch_bases"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name.replace('_', ' ')} must be 1 or more, not {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise UsageError(f"the learning rate must be above 0, not {self.learning_rate}")
        if not 0 <= self.warmup < 1:
            raise UsageError(f"the warm-up is a share of the steps, 0 to 1, not {self.warmup}")
        if self.filter_length is not None and not 1 <= self.filter_length <= self.l_max:
            raise UsageError(f"filters of {self.l_max:,} taps cannot be cut to {self.filter_length:,}")
        for stage in self.stages:
            if not 2 <= stage.context <= self.batch_bases:
                raise UsageError(
                    f"a context of {stage.context:,} does not fit into batches of {self.batch_bases:,} bases",
                    fix="give a larger --batch-bases or a shorter --context",
                )
            if stage.context > self.l_max and self.filter_length is None:
                raise UsageError(
                    f"a context of {stage.context:,} is longer than the filters ({self.l_max:,} taps)",
                    fix="give a larger --l-max or a shorter --context, or say with --filter-length that they may end",
                )

    def stage_starts(self) -> list[int]:
        """First step of every stage, and the number of steps behind the last one."""
        ends = itertools.accumulate(stage.share for stage in self.stages)
        return [0, *(round(end * self.steps) for end in itertools.islice(ends, len(self.stages) - 1)), self.steps]

    def context_of(self, step: int) -> int:
        """Context length of a step (from 0)."""
        stage = bisect.bisect_right(self.stage_starts(), step, hi=len(self.stages)) - 1
        return self.stages[stage].context

    def bases_until(self, step: int) -> int:
        """Tokens that the first `step` steps see; a batch holds only whole windows."""
        starts = self.stage_starts()
        return sum(
            max(0, min(step, end) - start) * (self.batch_bases // stage.context * stage.context)
            for stage, start, end in zip(self.stages, starts[:-1], starts[1:], strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Settings":
        """The inverse of `to_dict`."""
        return cls(**{**values, "stages": tuple(Stage(**stage) for stage in values["stages"])})

    def differences(self, other: "Settings") -> list[str]:
        """What is set otherwise in `other`, one line each."""
        names = [field.name for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]
        return [f"{name}: {getattr(self, name)} then, {getattr(other, name)} now" for name in names]


@dataclass(frozen=True)
class Pace:
    """How often a run tells, checks and saves, in steps; no effect on the losses.

    Attributes:
        log: Steps between two lines.
        validate: Steps between two looks at the first million tokens of the validation part; 0 = only at the end.
        checkpoint: Steps between two checkpoints.
        quiet: Nothing on stderr.
    """

    log: int = 50
    validate: int = 1000
    checkpoint: int = 500
    quiet: bool = False


def parse_stages(words: list[str]) -> tuple[Stage, ...]:
    """Read LENGTH or LENGTH:SHARE words; stages without a share divide what the others leave.

    Raises:
        UsageError: A word is not of this form, or the shares do not add up to 1.
    """
    parsed: list[tuple[int, float | None]] = []
    for word in words:
        length, _, share = word.partition(":")
        try:
            parsed.append((int(length), float(share) if share else None))
        except ValueError:
            raise UsageError(
                f"--context is LENGTH or LENGTH:SHARE, not {word!r}", fix="as in --context 1024:0.5"
            ) from None
    given = sum(share for _, share in parsed if share is not None)
    open_stages = sum(share is None for _, share in parsed)
    rest = (1 - given) / open_stages if open_stages else 0.0
    stages = tuple(Stage(length, rest if share is None else share) for length, share in parsed)
    if abs(sum(stage.share for stage in stages) - 1) > 1e-6 or any(stage.share <= 0 for stage in stages):
        raise UsageError(
            "the shares of all --context must add up to 1", fix="as in --context 1024:0.7 --context 8192:0.3"
        )
    return stages
