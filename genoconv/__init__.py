"""Genoconv: embeddings of DNA sequences of up to millions of bases, from FASTA to HDF5."""

__version__ = "0.1.0"
