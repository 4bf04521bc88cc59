"""Compiles the kernels for a GPU that is not there: real launches, but every launch ends with the compilation.

Prints a line for each variant: the kernel's name and its bytes of shared memory.
Arguments: compute capability (90), and the bytes of shared memory that one program may have.
"""

import sys
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from genoconv.kernels import devices, sparsity
from genoconv.kernels.block.launch import sums
from genoconv.kernels.monarch import backward, exact, filters, launch, resample
from genoconv.kernels.monarch.plan import Plan


class AbsentGPU:
    """What the compiler asks of a driver."""

    def get_current_target(self) -> Any:
        """The GPU to compile for."""
        return GPUTarget("cuda", int(sys.argv[1]), 32)

    def get_current_device(self) -> int:
        """Any number will do."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """Any number will do."""
        return device


def compile_only(kernel: Any, grid: Any) -> Any:
    """Stands for kernel[grid]."""

    def compiled(*arguments: Any, **options: Any) -> None:
        binary = kernel.run(*arguments, grid=grid, warmup=True, **options)
        print(kernel.__name__, binary.metadata.shared)

    return compiled


def forward(plan: Plan, L: int, dtype: torch.dtype) -> None:
    """The convolution with everything."""
    u, gate, taps, skip = torch.zeros(2, 3, L, dtype=dtype), torch.zeros(2, 3, L), torch.zeros(3, L), torch.zeros(3)
    launch.convolve(
        u,
        plan,
        min(L, plan.n),
        *filters.prepare(taps[:, : plan.n], plan),
        skip,
        gate.to(dtype),
        gate.to(dtype),
        u.clone(),
    )


def sparse(plan: Plan, L: int) -> None:
    """The convolution with low frequencies only."""
    band = sparsity.band_for(0.25)
    u, gate, taps, skip = torch.zeros(2, 3, L).half(), torch.zeros(2, 3, L).half(), torch.zeros(3, 900), torch.zeros(3)
    resample.convolve(u, band, plan, 900, *filters.prepare(taps, plan), skip, gate, gate, u.clone())


def gradients(plan: Plan, L: int, dtype: torch.dtype) -> None:
    """Gradients of everything."""
    u, dy, gate = (torch.zeros(2, 3, L, dtype=dtype) for _ in range(3))
    taps, skip = torch.zeros(3, L), torch.zeros(3)
    backward.gradients(u, dy, plan, *filters.prepare(taps, plan), L, skip, gate, gate.clone())


def float32(plan: Plan, L: int, *, gated: bool) -> None:
    """The convolution with float32's accuracy, as the model calls it and as others may."""
    v, gate, taps, skip = torch.zeros(2, 3, L), torch.zeros(2, 3, L), torch.zeros(3, L), torch.zeros(3)
    data, scale = filters.prepare(taps, plan, torch.float32)
    exact.convolve(v, plan, data, scale, None if gated else skip, gate if gated else None, gate, v)


driver.set_active(AbsentGPU())
devices.shared_memory = lambda device: int(sys.argv[2])
JITFunction.__getitem__ = compile_only
forward(Plan("direct"), 200, torch.float16)
forward(Plan("blocks", (64, 32), 1), 4001, torch.bfloat16)
forward(Plan("passes", (17, 2, 64, 32)), 70_000, torch.float16)
forward(Plan("passes", (33, 2, 64, 32)), 130_000, torch.float16)
forward(Plan("passes", (32, 16, 64, 32)), 1_000_000, torch.bfloat16)
forward(Plan("passes", (16, 15, 64, 32)), 491_000, torch.float16)
forward(Plan("blocks", (64, 64)), 4000, torch.float16)
forward(Plan("passes", (65, 64, 64)), 266_000, torch.float16)
forward(Plan("passes", (20, 64, 64)), 81_000, torch.float16)
forward(Plan("passes", (33, 64, 32), 1), 69_000, torch.float16)
forward(Plan("passes", (16, 15, 64, 64), 1), 1_900_000, torch.float16)
forward(Plan("signals", (5, 64, 64)), 20_001, torch.float16)
forward(Plan("signals", (4, 64, 64)), 16_384, torch.bfloat16)
forward(Plan("signals", (33, 5, 64, 64)), 675_000, torch.float16)
sparse(Plan("blocks", (64, 16)), 3000)
gradients(Plan("blocks", (64, 16)), 1000, torch.bfloat16)
gradients(Plan("passes", (33, 2, 64, 32)), 134_000, torch.bfloat16)
gradients(Plan("passes", (65, 64, 32)), 133_000, torch.float16)
gradients(Plan("passes", (16, 16, 64, 32)), 500_000, torch.bfloat16)
float32(Plan("blocks", (64, 16)), 1000, gated=False)
float32(Plan("passes", (33, 64, 32)), 67_000, gated=True)
float32(Plan("passes", (2, 3, 64, 32)), 12_001, gated=False)
sums(torch.zeros(2, 700, 256), torch.ones(2, dtype=torch.int64))
