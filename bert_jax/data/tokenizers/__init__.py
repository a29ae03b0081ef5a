"""Tokenizers: load one from its folder, or from the file of a model."""

from bert_jax.data.tokenizers.base import Tokenizer, TokenTable
from bert_jax.data.tokenizers.loading import load_tokenizer

__all__ = ['Tokenizer', 'TokenTable', 'load_tokenizer']
