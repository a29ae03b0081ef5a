"""Checkpoints of others: their files, names and configs, to ours and back."""
