"""Launches go to the GPU that holds their operands, not to the first one."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from genoconv.kernels import reference
from genoconv.kernels.devices import on_device_of
from genoconv.kernels.fftconv import fftconv


def test_the_operands_device_becomes_the_current_one() -> None:
    with on_device_of(torch.zeros(1)):
        pass
    second: Any = SimpleNamespace(is_cuda=True, device=torch.device("cuda", 1))
    assert on_device_of(second).idx == 1  # type: ignore[attr-defined]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_second_gpu(dtype: torch.dtype) -> None:
    u = torch.randn(2, 3, 5000, device="cuda:1").to(dtype).requires_grad_()
    taps = (torch.randn(3, 5000, device="cuda:1") / 70.0).requires_grad_()
    with torch.cuda.device(0):
        y = fftconv(u, taps)
        y.sum().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            again = fftconv(u, taps)
    expected = reference.fftconv(u, taps)
    assert (y - expected).norm() < 1e-3 * expected.norm()
    assert (again - expected).norm() < 1e-3 * expected.norm()
    assert u.grad is not None
