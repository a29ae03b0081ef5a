"""Examples of a task, and the columns of a table that they are read from.

Nothing is read here: configs of tasks name columns, and load no reader.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

from bert_jax.data.tables import values
from bert_jax.data.tables.table import Table

TEXTS, LABELS, IDS = 'texts', 'labels', 'ids'


@dataclasses.dataclass(frozen=True)
class Column:
  """A column that a task reads.

  Attributes:
    name: In the header or a record's keys, or its number from 0.
    field: The config field that gives the name, for messages.
    role: Where its values go in `Examples.columns`. Columns of the role
      TEXTS are put together: a tuple an example, in their order. Those of the
      role IDS become `Examples.ids`.
    read: (table, name) -> the values, one a record; see tables/values.py.
    is_answer: Whether `predict` does without it.
    of_words: Whether a record is a sentence, with a value for each word; files
      that are neither JSON nor Parquet then have CoNLL's columns.
    keeps_together: Whether examples with equal texts here stay together where
      some are held out; without such a column, their longest texts decide.
  """

  name: str
  field: str
  role: str
  read: Callable[[Table, str], list[Any]]
  is_answer: bool = False
  of_words: bool = False
  keeps_together: bool = False


def text_columns(
  names: Sequence[str],
  label: str | None,
  read_label: Callable[[Table, str], list[Any]] = values.labels,
) -> tuple[Column, ...]:
  """The columns of texts with one label each; `label` None: of texts alone."""
  columns = [Column(n, 'text_columns', TEXTS, values.texts) for n in names]
  if label is not None:
    columns.append(
      Column(label, 'label_column', LABELS, read_label, is_answer=True)
    )
  return tuple(columns)


def filled_columns(names: Sequence[str], field: str) -> tuple[Column, ...]:
  """The columns of texts of which none may be empty."""
  return tuple(Column(n, field, TEXTS, values.filled_texts) for n in names)


@dataclasses.dataclass(kw_only=True)
class Examples:
  """Examples as the columns of a task.

  Attributes:
    columns: By role, one value an example; answers may not be there.
    origins: 'path:line' of each example, for messages.
    lines: The line from 1 where each begins; empty where there are no lines.
    ids: The cells of a column of ids; empty where there is none.
    id_column: The name of that column, where it was found among several.
    notes: Lines on what reading guessed or found odd, to be printed.
    may_be_header: See tables.reading.Table.
    first: The number of the first example in its file, from 0.
  """

  columns: dict[str, list[Any]]
  origins: list[str]
  lines: list[int] = dataclasses.field(default_factory=list)
  ids: list[Any] = dataclasses.field(default_factory=list)
  id_column: str = ''
  notes: list[str] = dataclasses.field(default_factory=list)
  may_be_header: bool = False
  first: int = 0

  def __len__(self) -> int:
    return len(self.origins)

  @property
  def texts(self) -> list[tuple[str, ...]]:
    """A tuple of texts, or of words, for each example."""
    return self.columns[TEXTS]

  @property
  def labels(self) -> list[Any]:
    """The answers, one an example; empty where none were read."""
    return self.columns.get(LABELS, [])

  def digest(self) -> str:
    """The SHA-256 of texts and answers, the same wherever they were read."""
    text = json.dumps(self.columns, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()

  def place(self, row: int) -> dict[str, Any]:
    """The place of an example, for an output: record (from 1), line, id."""
    place: dict[str, Any] = {'record': self.first + row + 1}
    if self.lines:
      place['line'] = self.lines[row]
    if self.ids:
      place['id'] = self.ids[row]
    return place

  def windows(self, size: int) -> Iterator['Examples']:
    """Yields the examples in order, `size` at a time."""
    for first in range(0, len(self), size):
      window = self.take(range(first, min(first + size, len(self))))
      yield dataclasses.replace(window, first=first)

  @property
  def num_bytes(self) -> int:
    """Bytes of all texts, for a progress bar."""
    return sum(
      len(text.encode(errors='replace'))
      for texts in self.texts
      for text in texts
    )

  def without(self, roles: Collection[str]) -> 'Examples':
    """The examples without the columns of these roles."""
    columns = {r: c for r, c in self.columns.items() if r not in roles}
    return dataclasses.replace(self, columns=columns)

  def take(self, rows: Sequence[int] | np.ndarray) -> 'Examples':
    """The examples of these rows, in their order; notes are kept."""
    return dataclasses.replace(
      self,
      columns={
        role: [column[row] for row in rows]
        for role, column in self.columns.items()
      },
      **{
        name: [column[row] for row in rows]
        for name in ('origins', 'lines', 'ids')
        if (column := getattr(self, name))
      },
    )


def examples_of(texts: Sequence[tuple[str, ...]]) -> Examples:
  """Texts of a caller as examples without answers."""
  return Examples(
    columns={TEXTS: list(texts)},
    origins=[f'text {number}' for number in range(1, len(texts) + 1)],
  )
