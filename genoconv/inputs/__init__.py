"""From FASTA files to batches of token ids."""
