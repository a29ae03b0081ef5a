"""Downstream examples: read from tables, encoded, and served like a corpus.

They fit in memory, so a stream of them is rows and labels in two arrays, under
the interface of `stream.Stream`: the one training loop runs on both.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax.data.reading.permutation import Permutation
from bert_jax.data.reading.stream import example_number_words
from bert_jax.data.sources import installed_docs
from bert_jax.data.tables import Table, read_table, values
from bert_jax.data.tables.header import missing_column, refuse_named_row
from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError, listed, quoted

INSTALLED_DOCS = 'installed_docs:'
# Columns that name an example, the first of which is carried into predictions.
ID_COLUMNS = ('id', 'idx', 'index', 'guid')
_MIN_LENGTH = 8
_TEXTS_PER_BATCH = 1024


@dataclasses.dataclass(kw_only=True)
class LabelledExamples:
  """Examples as text.

  Attributes:
    texts: One tuple of texts, in the order of the text columns, an example.
    labels: One an example; empty where no label column was asked for.
    origins: 'path:line' of each example, for messages.
    lines: The line from 1 where each begins; empty where there are no lines.
    ids: The cells of a column of ids; empty where there is none.
    notes: Lines on what reading guessed or found odd, to be printed.
    may_be_header: See tables.reading.Table.
  """

  texts: list[tuple[str, ...]]
  labels: list[str]
  origins: list[str]
  lines: list[int] = dataclasses.field(default_factory=list)
  ids: list[Any] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)
  may_be_header: bool = False

  def place(self, row: int) -> dict[str, Any]:
    """The place of an example, for an output: record (from 1), line, id."""
    place: dict[str, Any] = {'record': row + 1}
    if self.lines:
      place['line'] = self.lines[row]
    if self.ids:
      place['id'] = self.ids[row]
    return place

  def take(self, rows: np.ndarray) -> 'LabelledExamples':
    """The examples of these rows, int [n], in their order; notes are kept."""
    columns = {
      name: [column[row] for row in rows]
      for name in ('texts', 'labels', 'origins', 'lines', 'ids')
      if (column := getattr(self, name))
    }
    return dataclasses.replace(self, **columns)

  def label_ids(self, label_names: Sequence[str]) -> np.ndarray:
    """int32 [n]: the place of each label in `label_names`.

    Raises:
      InputError: A label is not among them.
    """
    places = {name: i for i, name in enumerate(label_names)}
    unknown = [i for i, label in enumerate(self.labels) if label not in places]
    if unknown:
      first = unknown[0]
      names = list(dict.fromkeys(self.labels[i] for i in unknown))
      raise InputError(
        f'{self.origins[first]}: the label {quoted(self.labels[first])} is not '
        f'known; known are {listed(label_names)}. {len(unknown):,} of '
        f'{len(self.labels):,} examples have unknown labels ({listed(names)}); '
        'name them as in training, or leave them out.'
      )
    return np.array([places[label] for label in self.labels], np.int32)


def read_examples(
  path: str | os.PathLike[str],
  *,
  text_columns: Sequence[str],
  label_column: str | None,
  header: str = '',
  id_columns: Sequence[str] = (),
  flags: str = '--config.task.',
) -> LabelledExamples:
  """Reads all examples of a file.

  Args:
    path: A table, see tables.reading.read_table; or 'installed_docs:train' or
      'installed_docs:eval', with the columns 'text' and 'label'.
    text_columns: Names in the header or keys. Where all columns are numbers
      ('0', '1'), a .tsv or .csv has no header.
    label_column: A name or number too; None reads no labels.
    header: 'yes' where there is a header though columns go by number, 'no'
      where the first line is an example though it looks like a header.
    id_columns: Columns of ids, of which the first that is there is read.
    flags: The beginning of the flags that name columns, for messages.

  Raises:
    InputError: A file, column, label or example is missing, a text is no
      string or a label no name, or a line cannot be read. Nothing is skipped: a
      lost example would change the result.
  """
  path = os.fspath(path)
  columns = _flags_of_columns(text_columns, label_column, flags)
  if path.startswith(INSTALLED_DOCS):
    if header:
      raise InputError(f'{flags}header={header}: {path} has none; leave it out')
    table = _installed_docs_table(path, columns, flags)
  else:
    table = read_table(
      path, columns, optional=id_columns, header_setting=header, flags=flags
    )
  texts = [values.texts(table, name) for name in text_columns]
  labels = [] if label_column is None else values.labels(table, label_column)
  if not table.origins:
    raise InputError(f'{path}: there are no examples in it; give another file.')
  examples = LabelledExamples(
    texts=list(zip(*texts, strict=True)),
    labels=labels,
    origins=table.origins,
    lines=table.lines,
    notes=table.notes,
    may_be_header=table.may_be_header,
  )
  for name in table.columns.keys() - set(columns):
    examples.ids = values.ids(table, name)
  if table.may_be_header:
    label = labels[0] if labels else None
    refuse_named_row(table.origins[0], examples.texts[0], label, flags)
  return examples


def encode_examples(
  tokenizer: Tokenizer, texts: Sequence[tuple[str, ...]], max_length: int
) -> tuple[np.ndarray, int]:
  """Encodes each example as a row `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`.

  RoBERTa's tokenizer puts two [SEP] between the texts, as that model was
  trained (TokenTable.pair_separators). Texts that are too long are cut: tokens
  are dropped from the end of the longer text, as Google's BERT does it.

  Args:
    tokenizer: Encodes the texts.
    texts: A tuple of one or two texts for each example.
    max_length: Tokens in a row, with the special ones.

  Returns:
    int32 [n, max_length] rows, padded at the end; how many examples were cut.

  Raises:
    InputError: max_length is below 8.
  """
  if max_length < _MIN_LENGTH:
    raise InputError(f'max_length={max_length}: give {_MIN_LENGTH} or more.')
  table = tokenizer.table
  rows = np.full((len(texts), max_length), table.pad_id, np.int32)
  num_cut = 0
  for first in range(0, len(texts), _TEXTS_PER_BATCH):
    batch = texts[first : first + _TEXTS_PER_BATCH]
    encoded = iter(
      tokenizer.encode_batch([t for group in batch for t in group])
    )
    for row, group in zip(rows[first:], batch, strict=False):
      parts = [next(encoded) for _ in group]
      lengths = [len(part) for part in parts]
      separators = [table.pair_separators] * (len(parts) - 1) + [1]
      kept = _kept_lengths(lengths, max_length - 1 - sum(separators))
      num_cut += kept != lengths
      row[0] = table.cls_id
      place = 1
      for part, length, count in zip(parts, kept, separators, strict=True):
        row[place : place + length] = part[:length]
        place += length
        row[place : place + count] = table.sep_id
        place += count
  return rows, num_cut


class LabelledStream:
  """The endless, shuffled sequence of labelled rows; see stream.Stream.

  Args:
    input_ids: int32 [n, row_length].
    labels: int32 [n].
    seed: Decides the order, which differs from epoch to epoch.
    shuffle: False gives the rows in their order, again and again.
  """

  def __init__(
    self,
    input_ids: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    shuffle: bool = True,
  ):
    if not len(input_ids) or len(input_ids) != len(labels):
      raise ValueError(
        f'LabelledStream: {len(input_ids)} rows and {len(labels)} labels; give '
        'one label for each row, and one row or more'
      )
    self._input_ids = np.asarray(input_ids, np.int32)
    self._labels = np.asarray(labels, np.int32)
    self._seed = seed
    self._shuffle = shuffle
    self.num_rows, self.row_length = self._input_ids.shape
    digest = hashlib.sha256(json.dumps([seed, shuffle]).encode())
    for array in (self._input_ids, self._labels):
      digest.update(json.dumps(array.shape).encode())
      digest.update(np.ascontiguousarray(array, '<i4'))
    self.fingerprint = digest.hexdigest()

  def locate(
    self, example_numbers: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """(epoch int64 [n], row int64 [n]) of the example numbers, uint64 [n]."""
    numbers = np.asarray(example_numbers).astype(np.uint64).reshape(-1)
    epochs, positions = np.divmod(numbers, np.uint64(self.num_rows))
    if self._shuffle:
      positions = Permutation(self.num_rows, self._seed, epochs)(positions)
    return epochs.astype(np.int64), positions.astype(np.int64)

  def batch(self, example_numbers: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of the example numbers, uint64 [n], as one batch.

    Returns:
      'input_ids' int32 [n, row_length]; 'example_number' uint32 [n, 2];
      'labels' int32 [n]; 'label_weights' float32 [n], all 1.
    """
    _, rows = self.locate(example_numbers)
    return {
      'input_ids': self._input_ids[rows],
      'example_number': example_number_words(example_numbers),
      'labels': self._labels[rows],
      'label_weights': np.ones(len(rows), np.float32),
    }


def _flags_of_columns(
  text_columns: Sequence[str], label_column: str | None, flags: str
) -> dict[str, str]:
  """{column: the flag that gives it}; InputError where one is given twice."""
  if not text_columns:
    raise InputError('text_columns is empty; name one or two columns')
  found = dict.fromkeys(text_columns, 'text_columns')
  for name in text_columns:
    if name == label_column or list(text_columns).count(name) > 1:
      raise InputError(
        f'{flags}text_columns: the column {quoted(name)} is given twice, or is '
        'that of the labels; name each once'
      )
  return (
    found if label_column is None else {**found, label_column: 'label_column'}
  )


def _installed_docs_table(
  path: str, columns: Mapping[str, str], flags: str
) -> Table:
  for column, flag in columns.items():
    if column not in ('text', 'label'):
      raise missing_column(path, column, ['text', 'label'], flags + flag)
  table = Table(columns={column: [] for column in columns})
  split = path.removeprefix(INSTALLED_DOCS)
  for example in installed_docs.package_examples(split):
    table.origins.append(example.origin)
    for column in columns:
      table.columns[column].append(getattr(example, column))
  return table


def _kept_lengths(lengths: list[int], limit: int) -> list[int]:
  """The number of tokens to keep of each part, `limit` in all."""
  kept = list(lengths)
  excess = sum(kept) - limit
  if excess <= 0:
    return kept
  if len(kept) == 1:
    return [limit]
  first, second = kept
  # Tokens go from the longer one until both are equal, then in turn, and first
  # from the second.
  from_longer = min(excess, abs(first - second))
  if first > second:
    first -= from_longer
  else:
    second -= from_longer
  rest = excess - from_longer
  return [first - rest // 2, second - (rest + 1) // 2]
