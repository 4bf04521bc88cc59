"""The Triton backend: convolutions as chains of small matrix products (Monarch factors), on tensor cores."""
