"""Text in, batches of token ids out; numpy only, so that workers start fast.

sources/ and tokenizers/ read text, preparing/ makes rows of it on disk,
token_rows.py is their format, and reading/ gives a run its batches. Only
reading/device_feed.py imports jax. Nothing here knows a model or an objective.
"""
