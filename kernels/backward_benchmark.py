"""Measurements of gradients, as of results in `benchmark`: checked against float64, then timed beside torch.fft."""

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from genoconv.kernels import benchmark, reference
from genoconv.kernels.benchmark import ROW_BOUNDS, BenchmarkError, Filters, Measurement
from genoconv.kernels.fftconv import backend_for, fftconv

# Cycles for which a GPU is kept busy while the host prepares what is to be timed: about 20 ms.
_PAUSE = 40_000_000
# The gradients that are compared; the skip term's is that of the first tap.
_COMPARED = ("u", "taps", "in_gate", "out_gate")


def measure(
    batch: int,
    channels: int,
    length: int,
    *,
    taps: int,
    dtype: torch.dtype,
    device: torch.device,
    filters: Filters = "random",
) -> Measurement:
    """Checks and times the gradients of all operands of one gated convolution, whose result is there already.

    Returns:
        A Measurement: `torch_ms` is autograd through torch.fft in float32, with the filters' transform inside;
        `copy_ms` moves the four tensors read and the three written once, timed right before and right after the
        gradients, before torch; `error` and `row_error` are the largest of all gradients' and `fine_error` is that of
        u's gradient with the running mean taken off; memory is that of both ways together.

    Raises:
        BenchmarkError: A gradient, each of one channel, is not within `benchmark.ROW_BOUNDS`.
    """
    case = benchmark.operands(batch, channels, length, taps, dtype, device, filters)
    dy = benchmark.operands(batch, 1, length, 1, dtype, device, "random")["u"].expand_as(case["u"]).contiguous()
    for operand in case.values():
        operand.requires_grad_()
    y = fftconv(**case, check=False)
    error, fine_error = _errors(_gradients(y, case, dy), case, dy)
    if not error <= ROW_BOUNDS[dtype]:
        raise BenchmarkError(f"gradients at length {length}: relative error {error:.2e}")
    plan = str(getattr(y.grad_fn, "plan", "rfft"))
    u, gate = case["u"].detach(), case["in_gate"].detach()
    ms, copy_ms = benchmark.beside_copy(
        partial(_milliseconds, partial(_gradients, y, case, dy), device), u, gate, torch.empty_like(u)
    )
    y = _plain_torch(case)
    torch_ms = _milliseconds(partial(_gradients, y, case, dy), device)
    del y
    return Measurement(
        length=length, batch=batch, channels=channels, taps=taps, dtype=str(dtype).removeprefix("torch."),
        filters=filters, backend=backend_for(device, dtype), plan=plan, ms=ms, torch_ms=torch_ms,
        copy_ms=copy_ms * 7 / 4, error=error, fine_error=fine_error,
        mib=_mib(lambda: fftconv(**case, check=False), case, dy),
        torch_mib=_mib(lambda: _plain_torch(case), case, dy), row_error=error,
    )  # fmt: skip


def _gradients(y: Tensor, case: dict[str, Any], dy: Tensor) -> dict[str, Tensor]:
    return dict(zip(case, torch.autograd.grad(y, list(case.values()), dy, retain_graph=True), strict=True))


def _errors(found: dict[str, Tensor], case: dict[str, Any], dy: Tensor) -> tuple[float, float]:
    """Relative errors in first and last channel: the largest of all gradients', and u's without its running mean."""
    worst, worst_fine = 0.0, 0.0
    for h in sorted({0, dy.shape[1] - 1}):
        at = slice(h, h + 1)

        def cut(tensor: Tensor, at: slice = at) -> Tensor:
            return tensor[:, at] if tensor.ndim == 3 else tensor[at]

        exact: dict[str, Any] = {name: cut(tensor).detach().double().requires_grad_() for name, tensor in case.items()}
        expected = _gradients(reference.fftconv(**exact), exact, cut(dy).double())
        worst = max([worst, *(benchmark.relative(cut(found[name]).double(), expected[name]) for name in _COMPARED)])
        fine = [benchmark.fine(row.double()) for row in (cut(found["u"])[:1], expected["u"][:1])]
        worst_fine = max(worst_fine, benchmark.relative(*fine))
    return worst, worst_fine


def _plain_torch(case: dict[str, Any]) -> Tensor:
    """What one writes without this package."""
    n = 2 * case["u"].shape[-1]
    return benchmark.plain_torch(case, torch.fft.rfft(case["taps"].float(), n))


def _mib(forward: Callable[[], Tensor], case: dict[str, Any], dy: Tensor) -> float:
    """Memory that a convolution and its gradients take together, beside operands, result and gradients."""
    named = float(sum(tensor.nbytes for tensor in (dy, *case.values()))) / 2**20
    return max(0.0, benchmark.peak_mib(lambda: _gradients(forward(), case, dy), dy.device) - named)


def _milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Median time of a call: on a GPU from its first kernel to its last, with the host ahead of it."""
    run()
    if device.type != "cuda":
        return median(benchmark.clock(run) for _ in range(5))

    def ahead() -> float:
        sleep: Any = torch.cuda._sleep
        sleep(_PAUSE)
        return benchmark.events(run, device)

    return median(ahead() for _ in range(9))
