"""Attention: the tokens in view, and the backends that compute over them."""
