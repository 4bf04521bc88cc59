"""From FASTA to a trained model: next-base prediction."""
