"""Causal convolutions with long filters, by fast Fourier transforms."""

from genoconv.kernels.fftconv import backend_for

__all__ = ["backend_for"]
