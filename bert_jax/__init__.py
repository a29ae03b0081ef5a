"""Pretraining and fine-tuning of BERT-style encoders in JAX."""

import os
import typing

if typing.TYPE_CHECKING:
  from bert_jax.inference import TrainedModel

__version__ = '0.1.0'


def load(path: str | os.PathLike) -> 'TrainedModel':
  """Loads the model of a workdir or of a folder; see inference.load."""
  # Commands that load no model shall start without jax.
  from bert_jax import inference

  return inference.load(path)
