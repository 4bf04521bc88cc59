"""The compiler takes the kernels as the interpreter does, and their tiles fit into a GPU, even if none is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

# Bytes of shared memory that one program may have, by compute capability.
LIMITS = {"89": 101_376, "90": 232_448}


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels are run on the GPU that is there")
@pytest.mark.parametrize("capability", list(LIMITS))
def test_kernels_compile_and_fit(capability: str, tmp_path: Path) -> None:
    surroundings = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [
            sys.executable, "-W", "ignore", Path(__file__).with_name("compile_all.py"),
            capability, str(LIMITS[capability]),
        ],
        env=surroundings | {"TRITON_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shared = [(int(line.split()[1]), line) for line in done.stdout.splitlines()]
    assert len({line.split()[0] for _, line in shared}) >= 20, "every kernel took part"
    assert max(shared)[0] <= LIMITS[capability], max(shared)
