"""From a step to its learning rate, and to its context length and batch."""

import bisect
import math

from genoconv.training.settings import Settings


def learning_rate(step: int, settings: Settings) -> float:
    """The rate of a step (from 0): a straight rise to the highest rate, then a cosine to zero."""
    rise = round(settings.warmup * settings.steps)
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    progress = (step - rise) / max(settings.steps - rise, 1)
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def stage_of(step: int, settings: Settings) -> tuple[int, int]:
    """The stage that a step belongs to, and the step's number within that stage, both from 0."""
    starts = settings.stage_starts()
    stage = bisect.bisect_right(starts, step, hi=len(settings.stages)) - 1
    return stage, step - starts[stage]
