"""Attention: what a token may see, and the backends that compute it."""
