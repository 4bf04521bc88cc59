"""HyenaDNA: from token ids to hidden states."""
