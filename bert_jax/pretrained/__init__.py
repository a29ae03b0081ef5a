"""Pretrained models: opened from wherever they lie, saved as a workdir."""

from bert_jax.pretrained.model import Pretrained
from bert_jax.pretrained.opening import open_pretrained
from bert_jax.pretrained.workdirs import describe_base, save_model

__all__ = ['Pretrained', 'describe_base', 'open_pretrained', 'save_model']
