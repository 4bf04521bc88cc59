"""Causal convolutions with long filters, by fast Fourier transforms."""
