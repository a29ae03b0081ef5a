"""Token rows to batches: which rows, in which order, from where."""
