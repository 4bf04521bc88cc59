"""A real Slurm on this one machine, for the tests: munge, a controller and a node, stopped at the end by their ids.

The node claims more CPUs than there may be, and GPUs that are not there, so that any script can be run.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CONFIGURATION = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
KillWait=5
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 Gres=gpu:2 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why no Slurm can be started here, or nothing."""
    needed = ("slurmctld", "slurmd", "munged", "sbatch", "srun")
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in needed if shutil.which(name, path=search) is None]
    if missing:
        return f"{', '.join(missing)} not found (apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "a Slurm of one's own is started by root only"
    return ""


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """Start a Slurm with one node whose files are in a folder; the commands find it by SLURM_CONF.

    Raises:
        RuntimeError: It does not start.
    """
    own_munge = _start_munge()
    for name in ("state", "spool"):
        (folder / name).mkdir()
    ports = [_free_port(), _free_port()]
    text = CONFIGURATION.format(
        host=socket.gethostname().split(".")[0], port=ports[0], node_port=ports[1], folder=folder
    )
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    before = dict(os.environ)
    os.environ |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon], check=True, capture_output=True)
        _wait_until_idle(folder)
        yield
    finally:
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["scancel", "--user=root"], check=False, capture_output=True, timeout=10)
            time.sleep(1)
        for name in ("d.pid", "ctld.pid"):
            _stop(folder / name)
        if own_munge is not None:
            _stop(own_munge)
        os.environ.clear()
        os.environ |= before


def _start_munge() -> Path | None:
    """Start munge unless it runs already; the file with its process id if this started it."""
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
        return None
    run = Path("/run/munge")
    run.mkdir(exist_ok=True)
    shutil.chown(run, "munge")
    subprocess.run(["su", "-s", "/bin/sh", "munge", "-c", "/usr/sbin/munged"], check=True, capture_output=True)
    return run / "munged.pid"


def _wait_until_idle(folder: Path) -> None:
    for _ in range(100):
        found = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False)
        if found.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("*.log"))
    raise RuntimeError(f"the node never became idle\n{logs}")


def _stop(pid_file: Path) -> None:
    with suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        for _ in range(50):
            os.kill(pid, 0)
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
