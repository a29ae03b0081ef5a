"""Labels of words in batches, for use by several tasks."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.errors import InputError
from bert_jax.objectives.base import Batch
from bert_jax.tasks import classes

# Label of tokens that have no label to predict.
NONE = -1


def require_one_column(text_columns: Sequence[str]) -> None:
  """Raises InputError unless one column has the words."""
  if len(text_columns) != 1:
    raise InputError(
      f'task.text_columns names {len(text_columns)} columns; give the one that '
      'has the words'
    )


def word_label_ids(
  sentences: Sequence[Sequence[str]],
  names: Sequence[str],
  origins: Sequence[str],
  *,
  takes_unseen: bool = False,
  way_out: str = '',
) -> np.ndarray:
  """The output of each word's label, int32, sentence by sentence.

  Args:
    sentences: The labels of the words of each sentence.
    names: The names of a model's outputs.
    origins: 'path:line' of each sentence, for messages.
    takes_unseen, way_out: See classes.label_ids.

  Raises:
    InputError: See classes.label_ids; it names the word.
  """
  return classes.label_ids(
    [label for labels in sentences for label in labels],
    names,
    _Origins(sentences, origins),
    takes_unseen=takes_unseen,
    way_out=way_out,
  )


def word_weights(batch: Batch) -> jax.Array:
  """Weights f32 [B, T], 0 for tokens that have no label to predict."""
  weights_BT = (batch['labels'] != NONE).astype(jnp.float32)
  return weights_BT * batch['label_weights'][:, None]


class _Origins(Sequence[str]):
  """Origins of words for messages, each made only when it is asked for."""

  def __init__(
    self, sentences: Sequence[Sequence[str]], origins: Sequence[str]
  ):
    self._sentences = sentences
    self._origins = origins

  def __len__(self) -> int:
    return sum(map(len, self._sentences))

  def __getitem__(self, place: Any) -> Any:
    for origin, labels in zip(self._origins, self._sentences, strict=True):
      if place < len(labels):
        return f'{origin}, word {place + 1}'
      place -= len(labels)
    raise IndexError(place)
