"""Labelled examples: read from tables by typed columns, served like a corpus.

They fit in memory, so a stream of them is rows in arrays, under the interface
of `stream.Stream`: the one training loop runs on both.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax.data.examples import IDS, TEXTS, Column, Examples
from bert_jax.data.reading.permutation import Permutation
from bert_jax.data.reading.stream import example_number_words
from bert_jax.data.sources import installed_docs
from bert_jax.data.tables import values
from bert_jax.data.tables.conll import sentence_pieces
from bert_jax.data.tables.header import missing_column, refuse_named_row
from bert_jax.data.tables.reading import has_records, read_pieces
from bert_jax.data.tables.table import Table
from bert_jax.errors import InputError, quoted

INSTALLED_DOCS = 'installed_docs:'
# Columns that name an example, the first of which is carried into predictions.
ID_COLUMNS = ('id', 'idx', 'index', 'guid')


def read_examples(
  path: str | os.PathLike[str],
  columns: Sequence[Column],
  *,
  header: str = '',
  id_columns: Sequence[str] = (),
  flags: str = '--config.task.',
) -> Examples:
  """Reads all examples of a file; the arguments are those of `read_windows`."""
  (examples,) = read_windows(
    path, columns, header=header, id_columns=id_columns, flags=flags
  )
  return examples


def read_windows(
  path: str | os.PathLike[str],
  columns: Sequence[Column],
  *,
  header: str = '',
  id_columns: Sequence[str] = (),
  flags: str = '--config.task.',
  size: int = 0,
) -> Iterator[Examples]:
  """Reads the examples of a file, and yields `size` at a time.

  Args:
    path: A table, see tables.reading.read_table; or 'installed_docs:train' or
      'installed_docs:eval', with the columns 'text' and 'label'.
    columns: What is read. Where all names are numbers ('0', '1'), a .tsv or
      .csv has no header.
    header: 'yes' where there is a header though columns go by number, 'no'
      where the first line is an example though it looks like a header.
    id_columns: Columns of ids, of which the first that is there is read, unless
      a column of the role IDS is.
    flags: The beginning of the flags that name columns, for messages.
    size: Examples of a window, see tables.reading.read_pieces; 0: all.

  Raises:
    InputError: A file, column, value or example is missing, a value is not of
      its column's type, or a line cannot be read. Nothing is skipped: a lost
      example would change the result.
  """
  path = os.fspath(path)
  fields = _fields_of_columns(columns, flags)
  if any(column.role == IDS for column in columns):
    id_columns = ()
  num_read = 0
  for table in _open_table(
    path, columns, fields, header, id_columns, flags, size
  ):
    found = _by_role(columns, table)
    if not table.origins:
      raise InputError(
        f'{path}: there are no examples in it; give another file.'
      )
    _check_lengths(columns, table)
    ids = found.pop(IDS, [])
    examples = Examples(
      columns=found,
      origins=table.origins,
      lines=table.lines,
      ids=ids,
      notes=table.notes,
      may_be_header=table.may_be_header,
      first=num_read,
    )
    for name in table.columns.keys() - set(fields):
      examples.ids, examples.id_column = values.ids(table, name), name
    if table.may_be_header:
      label = examples.labels[0] if examples.labels else None
      label = label if isinstance(label, str) else None
      refuse_named_row(table.origins[0], examples.texts[0], label, flags)
    num_read += len(examples)
    yield examples


def _by_role(columns: Sequence[Column], table: Table) -> dict[str, list[Any]]:
  """The values of the columns by role, those of the role TEXTS as tuples.

  A cell may be a tuple of texts too, such as the words of a sentence.
  """
  found: dict[str, list[Any]] = {TEXTS: []}
  texts = []
  for column in columns:
    cells = column.read(table, column.name)
    if column.role == TEXTS:
      texts.append([x if isinstance(x, tuple) else (x,) for x in cells])
    else:
      found[column.role] = cells
  found[TEXTS] = [sum(cells, ()) for cells in zip(*texts, strict=True)]
  return found


def _open_table(
  path: str,
  columns: Sequence[Column],
  fields: Mapping[str, str],
  header: str,
  id_columns: Sequence[str],
  flags: str,
  size: int,
) -> Iterator[Table]:
  """The columns of a file by the reader of its kind; see read_windows."""
  if path.startswith(INSTALLED_DOCS):
    if header:
      raise InputError(f'{flags}header={header}: {path} has none; leave it out')
    yield _installed_docs_table(path, fields, flags)
    return
  if any(column.of_words for column in columns) and not has_records(path):
    yield from sentence_pieces(
      path, fields, header_setting=header, flags=flags, size=size
    )
    return
  if '.conll' in pathlib.Path(path).suffixes:
    raise InputError(
      f'{path}: its ending says that each word has a label, which is for '
      'tagging (experiments/finetune/tagging.py); give a table of texts here'
    )
  yield from read_pieces(
    path,
    fields,
    optional=id_columns,
    header_setting=header,
    flags=flags,
    size=size,
  )


def padding_note(longest: int, length: int) -> str:
  """Names a shorter max_length if a quarter of all columns is never used.

  Args:
    longest: Tokens of the longest row.
    length: The tokens that all rows are padded to.

  Returns:
    A line for a terminal; '' if the rows are about as long as needed.
  """
  enough = -(-longest // 8) * 8
  if 4 * enough > 3 * length:
    return ''
  return (
    f'the longest row has {longest} tokens; --config.max_length={enough} reads '
    f'the same text as {length}, in less time'
  )


class ExampleStream:
  """The endless, shuffled sequence of labelled rows; see stream.Stream.

  Args:
    rows: 'input_ids' int32 [n, ..., row_length], and what else each row has,
      such as its 'labels': int32 or float32 [n, ...].
    seed: Of the order, which differs from epoch to epoch.
    shuffle: False gives the rows in their order, again and again.
  """

  def __init__(
    self, rows: Mapping[str, np.ndarray], *, seed: int, shuffle: bool = True
  ):
    self.num_rows, *_, self.row_length = rows['input_ids'].shape
    for name, array in reversed([*rows.items()]):
      if not self.num_rows or len(array) != self.num_rows:
        raise ValueError(
          f'ExampleStream: {self.num_rows} rows and {len(array)} {name}; give '
          'one of each for each row, and one row or more'
        )
    self._rows = rows
    self._seed = seed
    self._shuffle = shuffle
    digest = hashlib.sha256(json.dumps([seed, shuffle]).encode())
    for array in rows.values():
      kind = '<f4' if array.dtype.kind == 'f' else '<i4'
      digest.update(json.dumps(array.shape).encode())
      digest.update(np.ascontiguousarray(array, kind))
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
      What there is of each row; 'example_number' uint32 [n, 2]; and
      'label_weights' float32 [n], all 1.
    """
    _, rows = self.locate(example_numbers)
    batch = {name: array[rows] for name, array in self._rows.items()}
    return batch | {
      'example_number': example_number_words(example_numbers),
      'label_weights': np.ones(len(rows), np.float32),
    }


def _check_lengths(columns: Sequence[Column], table: Table) -> None:
  """Raises InputError where columns of one sentence differ in length."""
  names = [column.name for column in columns if column.of_words]
  for row, origin in enumerate(table.origins):
    lengths = [len(table.columns[name][row]) for name in names]
    if len(set(lengths)) > 1:
      raise InputError(
        f'{origin}: column {quoted(names[0])} has {lengths[0]} words, and '
        f'column {quoted(names[-1])} {lengths[-1]}; give one for each word'
      )


def _fields_of_columns(columns: Sequence[Column], flags: str) -> dict[str, str]:
  """{column: the field that gives it}; InputError where one is given twice."""
  if not any(column.role == TEXTS for column in columns):
    raise InputError('text_columns is empty; name one or two columns')
  names = [column.name for column in columns]
  for column in columns:
    if column.role == TEXTS and names.count(column.name) > 1:
      raise InputError(
        f'{flags}{column.field}: the column {quoted(column.name)} is given '
        'twice, or is that of the labels; name each once'
      )
  return {column.name: column.field for column in columns}


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
