"""Downstream tasks: one file each, examples in and figures out."""
