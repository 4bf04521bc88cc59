"""From tensors to launches of the fused kernels."""

import os

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from genoconv.kernels.block.embed_kernel import embed_kernel
from genoconv.kernels.block.gates_kernel import gates_kernel
from genoconv.kernels.block.packing import HIDDEN_STEP, Projection, Transform
from genoconv.kernels.block.sums_kernel import sums_kernel
from genoconv.kernels.block.transform_kernel import transform_kernel
from genoconv.kernels.devices import on_device_of

# Positions of one program: at 256 channels, sums in 128 registers of each of 256 threads.
_ROWS = 128
_WORDS = 512
_EMBEDDED = 32
# Positions of one program that sums, and how many of them, of up to how many channels, it takes at a time.
_SPAN, _SUMMED, _COLUMNS = 512, 16, 256


def embed(ids: Tensor, table: Tensor, normal_table: Tensor, x: Tensor, normal: Tensor) -> None:
    """Rows of two tables into the stream and into what the first block reads.

    Args:
        ids: (P,) integers, unit stride.
        table: (vocabulary, d) float32.
        normal_table: The same, normalised, float16.
        x: (P, d) float32.
        normal: (P, d) float16.
    """
    positions, d = x.shape
    with on_device_of(x):
        embed_kernel[(triton.cdiv(positions, _EMBEDDED),)](
            ids, table, normal_table, x, normal, positions,
            D=d, WIDTH=triton.next_power_of_2(d), T=_EMBEDDED, num_warps=4,
        )  # fmt: skip


def gates(u: Tensor, projection: Projection, v: Tensor, gate: Tensor, *, first: int, behind: int, row: int) -> None:
    """Projections -> short filter -> v * x1 into v, x0 into gate, from position `first` on, as far as u goes.

    Args:
        u: Projections without their bias, (3 d, n) float16, unit stride: those of x0, x1 and v, one below the other.
        projection: With the short filter.
        v: (d, P) float16, unit stride.
        gate: The same, with the same strides.
        first: First position to do, even.
        behind: Position `first` is column `behind` of u, even: 2 or more, or 0 if a row starts there.
        row: Positions of a row of the batch, even: the filter does not see across its borders.
    """
    d, positions = len(v), u.shape[1] - behind
    with on_device_of(u):
        gates_kernel[(triton.cdiv(positions // 2, _WORDS), d)](
            u.view(torch.int32), projection.taps, v.view(torch.int32), gate.view(torch.int32),
            u.stride(0) // 2, v.stride(0) // 2, first // 2, (first + positions) // 2, behind // 2, row // 2, d,
            SIZE=_WORDS, num_warps=4,
        )  # fmt: skip


def transform(x: Tensor, y: Tensor, weights: Transform, following: Tensor, bad: Tensor, *, final: bool = False) -> None:
    """Adds the output projection of y to the stream, then the MLP of the sum; and normalises the result.

    Args:
        x: The stream, (P, d) float32; replaced by the stream after the block.
        y: Mixed signals, (d, P) float16, unit stride along P.
        weights: Of the block.
        following: (P, d) float16: the normalised result, without a norm's weight and bias, for the next block.
        bad: (1,) int32; set to 1 if a number of the result is not finite.
        final: Instead of both, x is replaced by the result of the final norm.
    """
    width = weights.width
    with on_device_of(x):
        transform_kernel[(triton.cdiv(len(x), _ROWS),)](
            x, TensorDescriptor.from_tensor(x, [_ROWS, width]),
            y, TensorDescriptor.from_tensor(following, [_ROWS, width]), bad,
            weights.out, weights.fc1, weights.fc2, weights.bias,
            y.stride(0), len(x), weights.eps, weights.next_eps,
            D=weights.d, WIDTH=width, INNER=weights.inner,
            T=_ROWS, K=64, J=HIDDEN_STEP, FINAL=final, FAST=not _interpreted(),
            num_warps=8 if width > 64 else 4,
        )  # fmt: skip


def sums(x: Tensor, lengths: Tensor) -> Tensor:
    """Sums over the positions of padded rows.

    Args:
        x: (B, L, d) float32, unit stride along d; what stands behind a row's length is not read.
        lengths: Positions of each row, (B,) integers on the same device, up to L.

    Returns:
        (B, d) float64.
    """
    B, L, d = x.shape
    stretches, width = triton.cdiv(L, _SPAN), min(_COLUMNS, triton.next_power_of_2(d))
    found = torch.empty(B, stretches, d, dtype=torch.float64, device=x.device)
    if found.numel():
        with on_device_of(x):
            sums_kernel[(B * stretches, triton.cdiv(d, width))](
                x, lengths, found, x.stride(0), x.stride(1), stretches,
                D=d, WIDTH=width, T=_SUMMED, SPAN=_SPAN, num_warps=8,
            )  # fmt: skip
    return found.sum(dim=1)


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"
