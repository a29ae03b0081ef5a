"""A part of the training examples that is held out, where there is no other."""

import collections
from collections.abc import Hashable, Sequence

import numpy as np

from bert_jax.data.examples import TEXTS, Column, Examples
from bert_jax.data.reading.permutation import Permutation
from bert_jax.errors import InputError

# One example of so many is held out.
ONE_OF = 10
# Examples of a class of which one is held out, though a tenth of them is none.
_FEW = 4


def held_out(
  examples: Examples, columns: Sequence[Column], path: str
) -> tuple[Examples, Examples]:
  """Divides examples into (training, held out): a tenth of each class.

  Numbers are divided by size, so that both parts have small and large ones.
  Examples that share their longest text, as questions on one context do, stay
  together. With a column that keeps examples together, a tenth of its texts is
  held out, whatever their classes. The division depends on the examples alone.

  Args:
    examples: All of them, with their answers.
    columns: What they were read from.
    path: Where they were read from, for messages.

  Raises:
    InputError: There are too few to hold some out.
  """
  of_words = any(column.of_words for column in columns)
  texts_of = [column for column in columns if column.role == TEXTS]
  kept = [column.keeps_together for column in texts_of]
  groups: dict[Hashable, list[int]] = {}
  for row, texts in enumerate(examples.texts):
    key = texts if of_words else max(texts, key=len)
    if any(kept):
      key = texts[kept.index(True)]
    groups.setdefault(key, []).append(row)
  strata: dict[Hashable, list[list[int]]] = collections.defaultdict(list)
  stratum_of = _strata([None] * len(examples) if any(kept) else examples.labels)
  together = list(groups.values())
  for place in Permutation(len(together), 0)(np.arange(len(together))):
    rows = together[int(place)]
    strata[stratum_of[rows[0]]].append(rows)
  chosen: set[int] = set()
  for of_stratum in strata.values():
    count = max(round(len(of_stratum) / ONE_OF), len(of_stratum) >= _FEW)
    chosen.update(row for rows in of_stratum[:count] for row in rows)
  rest = [row for row in range(len(examples)) if row not in chosen]
  if not chosen or not rest:
    raise InputError(
      f'{path}: {len(examples):,} examples of {len(together):,} texts are too '
      'few to hold some out; give --config.task.eval_path=FILE'
    )
  of_what = 'each class'
  if any(kept):
    of_what = f'the texts of column {texts_of[kept.index(True)].name}'
  note = (
    f'no task.eval_path: {len(chosen):,} of {len(examples):,} examples of '
    f'{path} are held out, a tenth of {of_what}, and not trained on'
  )
  notes = [*examples.notes, note]
  held = examples.take(sorted(chosen))
  held.notes = notes
  return examples.take(rest), held


def _strata(labels: Sequence[object]) -> list[Hashable]:
  """The stratum of each example: its class, or ten neighbours by size."""
  if all(isinstance(label, float) for label in labels):
    ranks = np.argsort(np.argsort(np.array(labels), kind='stable'))
    return (ranks // ONE_OF).tolist()
  if all(isinstance(label, str | int) for label in labels):
    return list(labels)
  return [0] * len(labels)
