"""Pretraining and fine-tuning of BERT-style encoders in JAX."""

import os
import typing
from collections.abc import Sequence

if typing.TYPE_CHECKING:
  from bert_jax.inference import TrainedModel

__version__ = '0.1.0'


def load(path: str | os.PathLike) -> 'TrainedModel':
  """Loads the model of a workdir or of a folder; see inference.load."""
  # Commands that load no model shall start without jax.
  from bert_jax import inference

  return inference.load(path)


def write_examples(
  path: str | os.PathLike[str], **columns: Sequence[typing.Any]
) -> None:
  """Writes labelled examples for `finetune`; see tables.writing.write_columns.

  bert_jax.write_examples('train.jsonl', text=texts, label=labels)
  """
  from bert_jax.data.tables.writing import write_columns

  write_columns(path, columns)
