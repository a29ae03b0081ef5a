"""Downstream examples: read from files, encoded, and served like a corpus.

They fit in memory, so a stream of them is rows and labels in two arrays, under
the interface of `stream.Stream`: the one training loop runs on both.
"""

import csv
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from bert_jax.data.reading.stream import Permutation, example_number_words
from bert_jax.data.sources import base, files, installed_docs
from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError, listed, quoted

INSTALLED_DOCS = 'installed_docs:'
_DELIMITERS = {'.tsv': '\t', '.csv': ','}
_MIN_LENGTH = 8
_SURROGATES = re.compile('[\ud800-\udfff]')
_TEXTS_PER_BATCH = 1024


@dataclasses.dataclass(kw_only=True)
class LabelledExamples:
  """Examples as text.

  Attributes:
    texts: One tuple of texts, in the order of the text columns, an example.
    labels: One an example; empty where no label column was asked for.
    origins: 'path:line' of each example, for messages.
  """

  texts: list[tuple[str, ...]]
  labels: list[str]
  origins: list[str]

  def label_ids(self, label_names: Sequence[str]) -> np.ndarray:
    """int32 [n]: the place of each label in `label_names`.

    Raises:
      InputError: A label is not among them.
    """
    places = {name: i for i, name in enumerate(label_names)}
    for label, origin in zip(self.labels, self.origins, strict=True):
      if label not in places:
        raise InputError(
          f'{origin}: the label {quoted(label)} is not known; known are '
          f'{listed(label_names)}.'
        )
    return np.array([places[label] for label in self.labels], np.int32)


def read_examples(
  path: str | os.PathLike[str],
  *,
  text_columns: Sequence[str],
  label_column: str | None,
) -> LabelledExamples:
  """Reads all examples of a file.

  Args:
    path: `.tsv` (tab-separated, a quote is an ordinary character, as in GLUE),
      `.csv` (quoted fields may hold commas and line breaks) or `.jsonl`, each
      also compressed (.gz, .xz, .zst); or 'installed_docs:train' or
      'installed_docs:eval', with the columns 'text' and 'label'.
    text_columns: Names in the header or keys. Where all columns are numbers
      ('0', '1'), a .tsv or .csv has no header.
    label_column: Likewise; None reads no labels.

  Raises:
    InputError: A file, column, label or example is missing, or a line cannot be
      read. Nothing is skipped: a lost example would change the result.
  """
  path = os.fspath(path)
  text_columns = tuple(text_columns)
  if not text_columns:
    raise InputError('text_columns is empty; name one or two columns')
  columns = (
    text_columns if label_column is None else (*text_columns, label_column)
  )
  if path.startswith(INSTALLED_DOCS):
    rows = _installed_docs_rows(path, columns)
  else:
    rows = _file_rows(path, columns)
  examples = LabelledExamples(texts=[], labels=[], origins=[])
  for origin, values in rows:
    examples.texts.append(tuple(values[: len(text_columns)]))
    examples.origins.append(origin)
    if label_column is not None:
      if not values[-1]:
        raise InputError(
          f'{origin}: the label in column {quoted(label_column)} is empty; '
          'fill it in, or leave the line out.'
        )
      examples.labels.append(values[-1])
  if not examples.texts:
    raise InputError(f'{path}: there are no examples in it; give another file.')
  return examples


def encode_examples(
  tokenizer: Tokenizer, texts: Sequence[tuple[str, ...]], max_length: int
) -> tuple[np.ndarray, int]:
  """Encodes each example as a row `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`.

  RoBERTa's tokenizer puts two [SEP] between the texts, as that model was
  trained (TokenTable.pair_separators). What is too long is cut: tokens are
  dropped from the end of the longer text, as Google's BERT does it.

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
    seed: Of the order, which differs from epoch to epoch.
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


_Rows = Iterator[tuple[str, list[str]]]  # (origin, values of the columns)


def _installed_docs_rows(path: str, columns: tuple[str, ...]) -> _Rows:
  for column in columns:
    if column not in ('text', 'label'):
      raise _missing_column(path, column, ['text', 'label'])
  split = path.removeprefix(INSTALLED_DOCS)
  for example in installed_docs.package_examples(split):
    yield example.origin, [getattr(example, column) for column in columns]


def _file_rows(path: str, columns: tuple[str, ...]) -> _Rows:
  file = pathlib.Path(os.path.expanduser(path))
  if not file.is_file():
    raise InputError(f'{path}: there is no such file; check the path.')
  ending = files.text_ending(file)
  if ending == '.jsonl':
    return _jsonl_rows(file, columns)
  if ending in _DELIMITERS:
    return _delimited_rows(file, columns, _DELIMITERS[ending])
  raise InputError(
    f'{path}: its ending says no format; name it .tsv, .csv or .jsonl (.gz).'
  )


def _delimited_rows(
  path: pathlib.Path, columns: tuple[str, ...], delimiter: str
) -> _Rows:
  # Its default of 131,072 characters is less than some documents have.
  csv.field_size_limit(sys.maxsize)
  reader = csv.reader(
    (text for _, text in _lines(path)),
    delimiter=delimiter,
    quoting=csv.QUOTE_NONE if delimiter == '\t' else csv.QUOTE_MINIMAL,
    strict=True,
  )
  places = None
  try:
    for row in reader:
      if not row:
        continue  # a blank line
      origin = f'{path}:{reader.line_num}'
      if places is None:
        if all(map(_is_number, columns)):
          places = [int(column) for column in columns]
        else:
          for column in columns:
            if column not in row:
              raise _missing_column(path, column, row)
          places = [row.index(column) for column in columns]
          continue
      if max(places) >= len(row):
        raise InputError(
          f'{origin}: the line has {len(row)} columns, and column '
          f'{max(places)} (from 0) is asked for; mend it.'
        )
      yield origin, [row[place] for place in places]
  except csv.Error as error:
    raise InputError(
      f'{path}:{reader.line_num}: is not well-formed ({error}); mend it.'
    ) from error


def _is_number(column: str) -> bool:
  # A longer one is the number of no column, and too long for int().
  return column.isdecimal() and len(column) < 10


def _jsonl_rows(path: pathlib.Path, columns: tuple[str, ...]) -> _Rows:
  for line, text in _lines(path):
    if text.isspace():
      continue
    origin = f'{path}:{line}'
    try:
      record = json.loads(text)
    except (ValueError, RecursionError) as error:
      raise InputError(f'{origin}: is not JSON ({error}); mend it.') from error
    if not isinstance(record, dict):
      raise InputError(f'{origin}: is no JSON object; mend it.')
    values = []
    for column in columns:
      value = record.get(column)
      if value is None:
        raise _missing_column(origin, column, list(record))
      # A label may be a number or true; its JSON is its name.
      value = value if isinstance(value, str) else json.dumps(value)
      if _SURROGATES.search(value):
        raise InputError(
          f'{origin}: column {quoted(column)} holds half of a surrogate pair '
          '(as \\ud800), which is no character; mend it.'
        )
      values.append(value)
    yield origin, values


def _lines(path: pathlib.Path) -> Iterator[tuple[int, str]]:
  """Whole lines; unlike in a corpus, a byte that is not UTF-8 is an error."""
  report = base.ReadReport()
  for line, text in files.read_whole_lines(path, report):
    for examples in report.examples.values():
      raise InputError(f'{examples[0]}; convert the file with iconv -t UTF-8.')
    yield line, text


def _kept_lengths(lengths: list[int], limit: int) -> list[int]:
  """How many tokens to keep of each part, `limit` in all."""
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


def _missing_column(
  where: str | pathlib.Path, column: str, there: list[str]
) -> InputError:
  return InputError(
    f'{where}: there is no column {quoted(column)}; there are {listed(there)}.'
  )
