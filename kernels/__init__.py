"""Causal convolutions with long filters, by fast Fourier transforms."""

from genoconv.kernels.backends import backend_for

__all__ = ["backend_for"]
