"""Training: state, step, loop, checkpoints and logging."""
