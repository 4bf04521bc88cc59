"""Which share of a run is this process's: told by the user, by Slurm or by torchrun; the same for all who ask."""

import heapq
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genoconv.errors import UsageError
from genoconv.outputs.hdf5 import Array

FIX = "give the shard yourself: --shard 3/8"


@dataclass(frozen=True, slots=True)
class Shard:
    """One share of a run.

    Attributes:
        index: Which, from 1 to `count`.
        count: Of how many; 1 is the whole.
        told_by: Who said so, for the message.
    """

    index: int = 1
    count: int = 1
    told_by: str = ""

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Shard()


def read_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """Reads --shard: `3/8`, or `auto` for what the batch system says.

    Raises:
        UsageError: It is neither, or the batch system says nothing that makes shards.
    """
    if text == "auto":
        return shard_of_environment(environment)
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard is I/N with I from 1 to N, or auto, not {text!r}", fix="for example --shard 3/8")
    return Shard(int(match[1]), int(match[2]), "--shard")


def shard_of_environment(environment: Mapping[str, str]) -> Shard:
    """The share that a Slurm array, srun (or both: tasks of an array job) or torchrun gives to this process.

    Raises:
        UsageError: None of them runs this process, or an array with gaps does.
    """
    if "SLURM_ARRAY_TASK_ID" in environment:
        array = _array_place(environment)
        task = _task_place(environment) if "SLURM_STEP_NUM_TASKS" in environment else (0, 1)
        return Shard(array[0] * task[1] + task[0] + 1, array[1] * task[1], "the Slurm array")
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return Shard(_number(environment, "RANK") + 1, _number(environment, "WORLD_SIZE"), "torchrun")
    if "SLURM_PROCID" in environment and "SLURM_NTASKS" in environment:
        rank, count = _task_place(environment)
        return Shard(rank + 1, count, "srun")
    raise UsageError(
        "--shard auto works in a Slurm array, under srun and under torchrun; no such thing runs here", fix=FIX
    )


def undivided(environment: Mapping[str, str] = os.environ) -> str:
    """Who runs several processes like this one, between which nobody divides the input; nothing where none does."""
    counts = {"a Slurm array": "SLURM_ARRAY_TASK_COUNT", "torchrun": "WORLD_SIZE", "srun": "SLURM_STEP_NUM_TASKS"}
    for who, name in counts.items():
        count = environment.get(name, "")
        if count.isdecimal() and int(count) > 1:
            return who
    return ""


def local_rank(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process among those of its run on this machine, from 0."""
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        if name in environment:
            return _number(environment, name)
    return 0


def shard_path(output: Path, shard: Shard) -> Path:
    """The output of one shard: genes.h5 -> genes.shard-003-of-008.h5; of the whole: the output itself."""
    if shard.count == 1:
        return output
    return output.with_name(f"{output.stem}.shard-{shard.index:03d}-of-{shard.count:03d}{output.suffix}")


def shard_files(output: Path) -> list[Path]:
    """The outputs of shards that are there, whatever their number."""
    pattern = re.compile(re.escape(output.stem) + r"\.shard-\d{3,}-of-\d{3,}" + re.escape(output.suffix))
    return sorted(path for path in output.parent.iterdir() if pattern.fullmatch(path.name))


def deal(units: Sequence[Array], lengths: Array, shard: Shard) -> list[int]:
    """The units of one shard: longest first, each to the shard that has least so far.

    Args:
        units: Rows computed together, of all the input.
        lengths: Bases of each row.
        shard: Which share.

    Returns:
        Places in `units`, ascending.
    """
    if shard.count == 1:
        return list(range(len(units)))
    costs = np.array([len(unit) * int(lengths[unit].max()) for unit in units], dtype=np.int64)
    loads = [(0, index) for index in range(1, shard.count + 1)]
    mine = []
    for place in np.argsort(-costs, kind="stable").tolist():
        load, index = loads[0]
        heapq.heapreplace(loads, (load + int(costs[place]), index))
        if index == shard.index:
            mine.append(place)
    return sorted(mine)


def _array_place(environment: Mapping[str, str]) -> tuple[int, int]:
    """Place (from 0) and size of an array that may start anywhere and step."""
    number, count = _number(environment, "SLURM_ARRAY_TASK_ID"), _number(environment, "SLURM_ARRAY_TASK_COUNT")
    first = _number(environment, "SLURM_ARRAY_TASK_MIN")
    step = int(environment.get("SLURM_ARRAY_TASK_STEP") or 1)
    last = int(environment.get("SLURM_ARRAY_TASK_MAX") or first + (count - 1) * step)
    if first + (count - 1) * step != last or not first <= number <= last or (number - first) % step:
        raise UsageError(
            f"the array has gaps: {count} tasks from {first} to {last} by {step} do not number the shards",
            fix=f"use an array such as --array=1-{count}, or {FIX}",
        )
    return (number - first) // step, count


def _task_place(environment: Mapping[str, str]) -> tuple[int, int]:
    """Rank and number of the tasks of this srun."""
    count = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    return _number(environment, "SLURM_PROCID"), _number(environment, count)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not text.isdecimal():
        raise UsageError(f"the environment says {name}={text!r}, which is no number", fix=FIX)
    return int(text)
