"""From hidden states to embeddings in an HDF5 file."""
