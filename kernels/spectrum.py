"""Filters, once transformed: what a backend needs to convolve any number of signals with the same taps."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from genoconv.kernels.monarch.plan import Plan
from genoconv.kernels.sparsity import Band


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The transform of a set of filters, in the form in which one backend uses it.

    Attributes:
        backend: Name of the backend that made it and can use it.
        taps: Taps that it holds of each filter (those beyond the longest signal are left out).
        length: Longest signal (in samples) that it serves; 0 means any length.
        n: Samples in one transform.
        hop: New output samples that one transform gives; a longer signal takes several transforms.
        data: The transform. "torch": (H, parts, n // 2 + 1) complex, where each part holds ``hop`` taps (one part
            holds them all, whatever ``hop`` is). "triton": (H, ...) float16 in the order of the plan's kernels.
        dtype: Real dtype of the arithmetic, and of the signals ("triton": float16; signals may be float32 too).
        plan: "triton": the kernels and factors that it is made for.
        scale: "triton": (H,) float32, factors of the results.
        band: The low frequencies that are kept, if not all are; taps, n, hop, data, plan and scale are then those of
            the low samples (see sparsity.py).
        dropped: Relative L2 error of each filter for what the band leaves out, (H,) float64 on the CPU.
    """

    backend: str
    taps: int
    length: int
    n: int
    hop: int
    data: Tensor
    dtype: torch.dtype
    plan: Plan | None = None
    scale: Tensor | None = None
    band: Band | None = None
    dropped: Tensor | None = None

    @property
    def channels(self) -> int:
        """Filters held, H."""
        return self.data.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the transform lies."""
        return self.data.device

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the transform takes."""
        return self.data.numel() * self.data.element_size()

    @property
    def in_place(self) -> bool:
        """Whether results are written over the signals without a copy."""
        return self.plan is None or self.band is not None or self.plan.in_place

    def __getitem__(self, channels: slice) -> "Spectrum":
        """The spectrum of a contiguous block of the channels, sharing memory with this one."""
        scale = None if self.scale is None else self.scale[channels]
        dropped = None if self.dropped is None else self.dropped[channels]
        return replace(self, data=self.data[channels], scale=scale, dropped=dropped)
