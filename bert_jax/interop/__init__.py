"""Checkpoints of other libraries: their names and layouts of parameters."""
