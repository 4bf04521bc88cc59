"""The device a run computes on, and the memory that is free there."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

import torch

from genoconv.errors import EnvironmentProblem, UsageError
from genoconv.runs.shards import Shard, local_rank

# Of glibc's malloc.h, and the bytes from which on a piece is returned as soon as it is free: at 32,768 bases with 1 MiB
# steps of the convolution take 5% longer, 4 MiB take 15 MiB more; glibc refuses more than 32 MiB.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LEAST_MAPPED, _MOST_MAPPED = 2 << 20, 32 << 20


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that is really there.

    Raises:
        UsageError: The name is none of these.
        EnvironmentProblem: A GPU was asked for and there is none, or not that many.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()) or (kind == "cpu" and number):
        raise UsageError(f"--device is auto, cpu, cuda or cuda:N, not {name!r}")
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        raise EnvironmentProblem(
            f"--device {name} was asked for, but PyTorch {torch.__version__} sees {count} CUDA device(s)",
            fix="check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu",
        )
    return torch.device("cuda", int(number or 0))


def choose_devices(name: str) -> list[torch.device]:
    """Turn one device, several with commas, or `all` GPUs into devices that are there.

    Raises:
        UsageError: A name is none of a device, or a GPU is named twice.
        EnvironmentProblem: A GPU is not there, or none at all.
    """
    if name == "all":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise EnvironmentProblem(
                f"--devices all was asked for, but PyTorch {torch.__version__} sees no CUDA device",
                fix="check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu",
            )
        name = ",".join(f"cuda:{number}" for number in range(count))
    devices = [choose_device(part) for part in name.split(",")]
    for device in devices:
        if device.type == "cuda" and devices.count(device) > 1:
            raise UsageError(f"--device names {device} twice")
    return devices


def own_device(name: str, shard: Shard) -> str:
    """The device of one of several processes on a machine: `auto` gives each a GPU of its own, by their ranks."""
    if name != "auto" or shard.told_by == "--shard" or not torch.cuda.is_available():
        return name
    return f"cuda:{local_rank() % torch.cuda.device_count()}"


def describe(device: torch.device) -> str:
    """The device in words, for the summary and the provenance."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)"


def use_threads(count: int | None) -> None:
    """Compute with `count` CPU threads, or with as many as this process may run on."""
    torch.set_num_threads(count or usable_cores())


def bound_heaps(device: torch.device, longest: int) -> None:
    """Have the C library give back what a CPU has worked on, for records of up to `longest` bases; glibc alone can.

    Each thread has a heap of its own, and what is freed there only its next pieces can use. By itself glibc keeps ever
    larger pieces: after a few batches of 32,768 bases on two threads 100 MiB of them. What the convolution works on at
    a time stays, for to ask for it again takes longer than to use it.

    It holds for the whole process from then on, so only commands and their workers ask for it, no function that another
    program may call.
    """
    large = min(_MOST_MAPPED, max(_LEAST_MAPPED, 32 * longest))
    if device.type == "cpu" and sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_THRESHOLD, large)
            libc.mallopt(_M_TRIM_THRESHOLD, 4 * large)


def usable_cores() -> int:
    """Cores this process may run on (batch systems give a job fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on the device.

    On the CPU this is the smaller of what the machine has available and what is left of the control group's limit.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused
    return min(_machine_available(), _control_group_left())


def _machine_available() -> int:
    """Available memory of the whole machine, in bytes."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: the total is the best that the standard library knows
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _control_group_left() -> int:
    """What a container or batch job may still take, in bytes (very large where there is no limit)."""
    for limit_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            limit, used = Path(limit_file).read_text().strip(), Path(used_file).read_text().strip()
        except OSError:
            continue
        if limit.isdecimal():
            return max(0, int(limit) - int(used))
    return 1 << 62


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed, on the CPU or on a GPU."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def free_unused(device: torch.device) -> None:
    """Give memory that the allocator holds but does not use back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
