"""This machine, looked at before a run does: findings, each with what to do about it."""

import errno
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from genoconv import __version__
from genoconv.errors import GenoconvError, OutputError
from genoconv.kernels.fftconv import BACKENDS, fftconv
from genoconv.kernels.reference import fftconv as reference
from genoconv.model.names import DEFAULT_MODEL, list_models, resolve
from genoconv.outputs.lock import OutputLock
from genoconv.outputs.store import EmbeddingWriter
from genoconv.runs.devices import free_memory, usable_cores
from genoconv.runs.progress import size
from genoconv.runs.provenance import versions

State = Literal["good", "note", "bad"]

TOLERANCE = {"torch": 1e-5, "triton": 5e-3}
"""Relative to the largest number of the reference; float32, and float16 with float32 sums."""

SMALL_MEMORY, SMALL_DISK = 2 << 30, 1 << 30
"""Less free memory or disk than this is told, in bytes."""

NETWORK = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "fuse.sshfs", "ceph", "9p", "afs", "wekafs")
"""File systems that several machines share, on which the cache of Triton loses races (triton issue 11512)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        state: `good`; `note`: runs, but slower or only with care; `bad`: something cannot run.
        found: What there is, in words.
        fix: What to do about it; empty where nothing has to be done.
    """

    name: str
    state: State
    found: str
    fix: str = ""


def examine(folder: Path) -> list[Finding]:
    """Look at everything.

    Args:
        folder: Where outputs are to be written.

    Returns:
        Findings, in a fixed order; a check that itself fails is a bad finding.
    """
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("versions", _versions),
        ("processor", _processor),
        ("gpu", _gpus),
        ("triton", _triton),
        ("kernels", _kernels),
        ("output folder", lambda: _folder(folder)),
        ("locks", lambda: _locks(folder)),
        ("hdf5", lambda: _hdf5(folder)),
        ("models", _models),
    ]
    findings = []
    for name, check in checks:
        try:
            findings += list(check())
        except GenoconvError as error:
            findings.append(Finding(name, "bad", error.what, error.fix))
        except Exception as error:
            findings.append(Finding(name, "bad", f"{type(error).__name__}: {error}"))
    return findings


def _versions() -> Iterator[Finding]:
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    yield Finding("versions", "good", f"genoconv {__version__}, {known}, {platform.platform()}")


def _processor() -> Iterator[Finding]:
    free = free_memory(torch.device("cpu"))
    words = f"{usable_cores()} of {os.cpu_count()} cores for this process, {size(free)} of memory free"
    if free < SMALL_MEMORY:
        yield Finding("processor", "note", words, "ask for more memory (Slurm: --mem), or use a small --batch-bases")
    else:
        yield Finding("processor", "good", words)


def _gpus() -> Iterator[Finding]:
    if not torch.cuda.is_available():
        yield _no_gpu()
        return
    driver = (
        _nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[0] or "of unknown version"
    )
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        major, minor = torch.cuda.get_device_capability(device)
        words = (
            f"{torch.cuda.get_device_name(device)}, capability {major}.{minor}, {size(free_memory(device))} free, "
            f"driver {driver}"
        )
        if (major, minor) < (8, 0):
            yield Finding(f"gpu {number}", "note", words, "the fused kernels need 8.0 (Ampere); torch's are used here")
        else:
            yield Finding(f"gpu {number}", "good", words)


def _no_gpu() -> Finding:
    """Why there is no GPU: none at all, hidden, or not for this PyTorch."""
    if not _nvidia_smi("-L"):
        return Finding("gpu", "note", "none; the CPU computes", "on a cluster, ask for one (Slurm: --gres=gpu:1)")
    if torch.version.cuda is None:
        fix = "install PyTorch with CUDA, as pytorch.org describes"
        return Finding("gpu", "bad", f"nvidia-smi sees one, but PyTorch {torch.__version__} is a CPU build", fix)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return Finding("gpu", "bad", f"hidden by CUDA_VISIBLE_DEVICES={visible!r}", "unset it, or ask Slurm for a GPU")
    fix = f"update the driver for CUDA {torch.version.cuda}, or install PyTorch for an older CUDA"
    return Finding("gpu", "bad", "nvidia-smi sees one, but PyTorch cannot use it", fix)


def _nvidia_smi(*arguments: str) -> str:
    """What NVIDIA's driver says; nothing where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False).stdout.strip()


def _triton() -> Iterator[Finding]:
    if find_spec("triton") is None:
        state: State = "bad" if torch.cuda.is_available() else "note"
        yield Finding("triton", state, "not installed; torch computes the convolutions", "pip install triton (Linux)")
        return
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))), None)
    if compiler is None:
        yield Finding("triton", "note", "no C compiler, which it needs", "load or install gcc, or set CC")
    else:
        yield Finding("triton", "good", f"installed, C compiler {compiler}")
    cache = Path(os.environ.get("TRITON_CACHE_DIR") or Path(os.environ.get("TRITON_HOME") or Path.home()) / ".triton")
    kind = _file_system(cache)
    if kind in NETWORK:
        fix = "set TRITON_CACHE_DIR to a folder of the node, such as $TMPDIR/triton, in each job"
        yield Finding("triton cache", "note", f"{cache} is on a network file system ({kind}): jobs race", fix)
    elif not os.access(_existing(cache), os.W_OK):
        yield Finding("triton cache", "note", f"{cache} cannot be written", "set TRITON_CACHE_DIR to one that can")
    else:
        yield Finding("triton cache", "good", f"{cache} ({kind or 'local'})")


def _kernels() -> Iterator[Finding]:
    """Every backend that can run here, against the float64 reference."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers = torch.Generator().manual_seed(0)
    u, taps = torch.randn(2, 4, 1500, generator=numbers), torch.randn(4, 900, generator=numbers) / 30
    expected = reference(u.half().double(), taps.half().double())
    for backend in BACKENDS if device.type == "cuda" else ("torch",):
        kind = torch.float16 if backend == "triton" else torch.float32
        signals, filters = u.half().to(device, kind), taps.half().to(device, kind)
        found = fftconv(signals, filters, backend=backend)
        error = float((found.double().cpu() - expected).abs().max() / expected.abs().max())
        if error > TOLERANCE[backend]:
            fix = "please report this, with the output of genoconv doctor --json"
            yield Finding(f"kernels {backend}", "bad", f"off by {error:.1e} on {device}", fix)
        else:
            yield Finding(f"kernels {backend}", "good", f"agree with the reference to {error:.1e} on {device}")


def _folder(folder: Path) -> Iterator[Finding]:
    with _trial(folder):
        free = shutil.disk_usage(folder).free
    words = f"{folder} ({_file_system(folder) or 'unknown file system'}), {size(free)} free"
    if free < SMALL_DISK:
        yield Finding("output folder", "note", words, "genoconv embed --dry-run tells what an output needs")
    else:
        yield Finding("output folder", "good", words)


def _locks(folder: Path) -> Iterator[Finding]:
    with _trial(folder) as inside:
        OutputLock(inside / "output").release()
    yield Finding("locks", "good", "one output is written by one job")


def _hdf5(folder: Path) -> Iterator[Finding]:
    """Writes, checks and publishes a small file."""
    with _trial(folder) as inside:
        writer = EmbeddingWriter(inside / "x.h5", ids=["a"], d_model=2, poolings=["mean"], layers=[0], obs={})
        with writer:
            writer.write(0, "mean", 0, np.ones((1, 2), np.float32))
            writer.commit({})
    locking = os.environ.get("HDF5_USE_FILE_LOCKING", "best effort")
    yield Finding("hdf5", "good", f"files are written, checked and renamed (file locking: {locking})")


@contextmanager
def _trial(folder: Path) -> Iterator[Path]:
    """A folder in the output folder, to try something in.

    Raises:
        OutputError: It cannot be made: /proc, for one, calls itself writable and takes no files.
    """
    try:
        made = tempfile.TemporaryDirectory(dir=folder, prefix=".genoconv-doctor-")
    except OSError as error:
        why = "it takes no files" if folder.is_dir() and error.errno == errno.ENOENT else os.strerror(error.errno or 0)
        what = f"nothing can be written to {folder}: {why[0].lower()}{why[1:]}"
        raise OutputError(what, fix="name another folder with --folder") from error
    with made as name:
        yield Path(name)


def _models() -> Iterator[Finding]:
    resolve(DEFAULT_MODEL)
    models = list_models()
    cached = [model.name for model in models if model.available]
    absent = [model.name for model in models if not model.available]
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    words = f"on this machine: {', '.join(cached)}"
    if absent and offline:
        fix = f"where there is a network: genoconv models pull NAME (for {', '.join(absent)})"
        yield Finding("models", "note", f"{words}; HF_HUB_OFFLINE forbids to fetch others", fix)
    else:
        yield Finding("models", "good", words)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))


def _file_system(path: Path) -> str:
    """The kind of file system that a path is on, or nothing where that cannot be told."""
    mounts = Path("/proc/mounts")
    if sys.platform != "linux" or not mounts.exists():
        return ""
    where = _existing(path).resolve()
    kinds = {}
    for line in mounts.read_text(errors="replace").splitlines():
        _, point, kind, *_ = line.split()
        kinds[Path(point.replace("\\040", " "))] = kind
    return next((kinds[folder] for folder in (where, *where.parents) if folder in kinds), "")
