"""A request for shards on a Slurm cluster -> one readable script that submits them, and a merge that waits for them."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genoconv.errors import EnvironmentProblem, OutputError
from genoconv.outputs.atomic import explained
from genoconv.runs.progress import read_duration

LARGEST_WARNING = 90
"""Seconds before the time limit of a task at which it is told to stop; a quarter of the limit, if that is less."""

MOST_RESTARTS = 100
"""A task that ran into its time limit so often makes no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmRequest:
    """What is asked of the cluster.

    Attributes:
        arguments: Those of `genoconv embed`: inputs and options, the output apart.
        output: The file of the whole.
        shards: Tasks of the array.
        time: Limit of one task, `HH:MM:SS` or `D-HH:MM:SS`; a task that runs into it is started again and goes on.
        cpus: CPUs of a task.
        memory: Memory of a task, as Slurm writes it (None: the cluster's default).
        gpus: GPUs of a task.
        partition: Where to run (None: the cluster's default).
        options: Further options of sbatch, for both jobs.
        setup: Lines of shell before genoconv: modules, environments.
        program: How to call genoconv.
    """

    arguments: Sequence[str]
    output: Path
    shards: int
    time: str
    cpus: int = 1
    memory: str | None = None
    gpus: int = 0
    partition: str | None = None
    options: Sequence[str] = ()
    setup: Sequence[str] = ()
    program: str = "genoconv"


def script(request: SlurmRequest) -> str:
    """The script: run with bash where sbatch is, it submits an array job and a merge job that depends on it."""
    name = re.sub(r"[^\w.-]", "_", request.output.stem)
    output = shlex.quote(str(request.output))
    devices = " --devices all" if request.gpus > 1 else ""
    # Without its own option, srun takes one CPU of those of the task (since Slurm 22.05).
    step = f"srun --cpus-per-task={request.cpus} {request.program}"
    arguments = shlex.join(request.arguments)
    setup = _lines(["", *request.setup])
    warning = int(min(LARGEST_WARNING, read_duration(request.time) // 4))
    common = [f"#SBATCH {option}" for option in _common(request)]
    array = [
        f"#SBATCH --job-name={name}",
        f"#SBATCH --array=1-{request.shards}",
        f"#SBATCH --time={request.time}",
        f"#SBATCH --cpus-per-task={request.cpus}",
        *([f"#SBATCH --mem={request.memory}"] if request.memory else []),
        *([f"#SBATCH --gres=gpu:{request.gpus}"] if request.gpus else []),
        f"#SBATCH --output={name}.%A_%a.log",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        f"#SBATCH --signal=USR1@{warning}",
        *common,
    ]
    joined = [
        f"#SBATCH --job-name={name}-merge",
        f"#SBATCH --time={request.time}",
        f"#SBATCH --output={name}.merge.log",
        *common,
    ]
    return f"""\
#!/bin/bash
# Embeds in {request.shards} shards and merges them into {request.output}. Run it where sbatch is, with bash.
set -euo pipefail

# Each task does one shard. {warning} s before its time limit Slurm sends USR1: genoconv then commits what is done and
# ends with exit code 75, and the task is queued again; it goes on where it stopped, as it does after a node has failed.
shards=$(sbatch --parsable <<'EOF'
#!/bin/bash
{_lines(array)}
{setup}
code=0
{step} embed {arguments} --output {output} --shard auto{devices} || code=$?
if [ "$code" -eq 75 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {MOST_RESTARTS} ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$code"
EOF
)

# Starts when all tasks have ended, however they ended: it names the shards that are missing, if any.
merge=$(sbatch --parsable --dependency=afterany:"$shards" <<'EOF'
#!/bin/bash
{_lines(joined)}
{setup}
exec {request.program} merge {output}
EOF
)

echo "shards: job $shards; merge: job $merge"
"""


def write_script(request: SlurmRequest, path: Path, *, overwrite: bool) -> None:
    """Write the script, executable.

    Raises:
        OutputError: It is there, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise OutputError("the script exists already", where=str(path), fix="Add --force to replace it.")
    with explained(path):
        path.write_text(script(request), encoding="utf-8")
        path.chmod(0o755)


def submit(path: Path) -> str:
    """Run a script of `write_script`.

    Returns:
        What it says: the numbers of the jobs.

    Raises:
        EnvironmentProblem: There is no Slurm here, or it refuses.
    """
    if shutil.which("sbatch") is None:
        raise EnvironmentProblem(
            "there is no sbatch here", fix=f"run the script where Slurm is: bash {path}", where=str(path)
        )
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise EnvironmentProblem(f"Slurm refuses: {words[-1]}", where=str(path), fix="mend the script, and run it")
    return done.stdout.strip()


def _common(request: SlurmRequest) -> list[str]:
    return [*([f"--partition={request.partition}"] if request.partition else []), *request.options]


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines)
