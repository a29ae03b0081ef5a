"""Text in, batches of token ids out; numpy only, so that workers start fast.

Only `device_feed.py` imports jax. Nothing here knows a model or an objective.
"""
