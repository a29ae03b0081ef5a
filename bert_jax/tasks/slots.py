"""Columns of slots: a label for each word of a command."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from bert_jax.data.examples import Column, Examples
from bert_jax.data.tables import values
from bert_jax.data.tables.table import Table
from bert_jax.errors import InputError, listed
from bert_jax.tasks import classes, entities
from bert_jax.tasks.word_labels import word_label_ids

# The role of the labels in Examples.columns.
SLOTS = 'slots'


def divided(table: Table, column: str) -> list[tuple[str, ...]]:
  """The words of a column: of lists, or of texts that are divided at spaces.

  Raises InputError as values.words, and on a text without a word.
  """
  cells = [
    cell.split() if isinstance(cell, str) else cell
    for cell in table.columns[column]
  ]
  words = dataclasses.replace(table, columns={column: cells})
  return values.words(words, column)


def slot_column(name: str) -> Column:
  """The column of the labels of a sentence's words."""
  return Column(name, 'slot_column', SLOTS, divided, is_answer=True)


def slots_of(examples: Examples) -> list[tuple[str, ...]]:
  """The labels of the words of each sentence."""
  return examples.columns[SLOTS]


def slot_names(examples: Examples) -> list[str]:
  """The different labels, ordered by code point.

  Raises InputError if they are none of slots, or are not one for each word.
  """
  _check_lengths(examples)
  names = sorted({name for labels in slots_of(examples) for name in labels})
  odd = [n for n in names if not entities.are_entities([n, 'B-x'])]
  if odd or names == [entities.OUTSIDE]:
    raise InputError(
      f'the column of slots has the labels {listed(odd or names)}; give O for '
      'none, and B-, I-, E- or S- with a type for the words of a slot, or '
      '--config.task.slot_column= to learn intents alone'
    )
  return names


def slot_ids(
  examples: Examples, names: Sequence[str], *, takes_unseen: bool
) -> np.ndarray:
  """The place of each word's label in `names`, int32, sentence by sentence.

  That of another label is -1 if it `takes_unseen`. Raises InputError if not, or
  on fewer or more labels than words.
  """
  _check_lengths(examples)
  return word_label_ids(
    slots_of(examples),
    names,
    examples.origins,
    takes_unseen=takes_unseen,
    way_out=classes.COUNT_AS_WRONG,
  )


def _check_lengths(examples: Examples) -> None:
  for origin, words, labels in zip(
    examples.origins, examples.texts, slots_of(examples), strict=True
  ):
    if len(words) != len(labels):
      raise InputError(
        f'{origin}: has {len(words)} words ({listed(words)}) and '
        f'{len(labels)} labels of slots; give one for each word'
      )
