"""Training: state, step, loop, checkpoints, logging and the report."""
