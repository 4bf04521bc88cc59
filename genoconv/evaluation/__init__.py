"""What embeddings tell: labelled sequences -> frozen embeddings and plain counts -> probes -> one table."""
