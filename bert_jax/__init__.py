"""Pretraining and fine-tuning of BERT-style encoders in JAX."""

__version__ = '0.1.0'
