"""Labelled examples for fine-tuning: read from a file, encoded, streamed."""

import csv
import dataclasses
import gzip
import hashlib
import json
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from bert_jax.data.stream import Permutation, example_number_words
from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError

FORMATS = ('.tsv', '.csv', '.jsonl')
# Texts given to the tokenizer at once.
ENCODE_BATCH = 4096


@dataclasses.dataclass
class LabelledExamples:
  """One or two texts, a label (or '') and 'path:line' for each example."""

  texts: list[tuple[str, ...]]
  labels: list[str]
  origins: list[str]

  def label_ids(self, label_names: Sequence[str]) -> np.ndarray:
    """int32 [n]; raises InputError for a label that is not in the list."""
    ids = {name: number for number, name in enumerate(label_names)}
    for label, origin in zip(self.labels, self.origins, strict=True):
      if label not in ids:
        known = ', '.join(label_names[:20])
        raise InputError(
          f'{origin}: unknown label {label!r}; the model knows {known}'
        )
    return np.asarray([ids[label] for label in self.labels], np.int32)


def read_examples(
  path: str, *, text_columns: tuple[str, ...], label_column: str | None
) -> LabelledExamples:
  """Reads .tsv, .csv or .jsonl, .gz too, or `installed_docs:train|eval`.

  Args:
    path: the file.
    text_columns: one or two names of the header, or numbers from 0 for a file
      without one; fields of a JSON object in .jsonl.
    label_column: likewise; None where labels are not needed.

  Raises:
    InputError: no such file or column, a line that does not parse, no example.
  """
  if path.startswith('installed_docs:'):
    from bert_jax.data.sources import installed_docs

    found = installed_docs.package_examples(path.partition(':')[2])
    return LabelledExamples(
      texts=[(example.text,) for example in found],
      labels=[example.label for example in found],
      origins=[example.origin for example in found],
    )
  file_path = pathlib.Path(path).expanduser()
  if not file_path.is_file():
    raise InputError(f'{path}: there is no such file; check the path')
  ending = file_path.with_suffix('') if file_path.suffix == '.gz' else file_path
  if ending.suffix not in FORMATS:
    raise InputError(
      f'{path}: cannot tell its format from the name; it should end in '
      f'{", ".join(FORMATS)}, with .gz after it if compressed'
    )
  columns = text_columns + ((label_column,) if label_column else ())
  examples = LabelledExamples([], [], [])
  try:
    for line, values in _records(file_path, ending.suffix, columns):
      examples.texts.append(tuple(values[: len(text_columns)]))
      examples.labels.append(values[-1] if label_column else '')
      examples.origins.append(f'{path}:{line}')
  except UnicodeDecodeError as error:
    raise InputError(
      f'{path} is not UTF-8 text ({error.reason} near byte {error.start}); '
      'convert it to UTF-8'
    ) from None
  except (gzip.BadGzipFile, EOFError) as error:
    raise InputError(f'{path} is not a whole gzip file ({error})') from None
  if not examples.texts:
    raise InputError(f'{path} has no examples')
  return examples


def encode_examples(
  tokenizer: Tokenizer, texts: Sequence[tuple[str, ...]], max_length: int
) -> tuple[np.ndarray, int]:
  """Rows `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, then padding.

  A text that does not fit loses its end; of two, the longer one does first.
  Returns int32 [n, max_length] and how many examples were cut.
  """
  table = tokenizer.table
  rows = np.full((len(texts), max_length), table.pad_id, np.int32)
  num_cut = 0
  for first in range(0, len(texts), ENCODE_BATCH):
    chunk = texts[first : first + ENCODE_BATCH]
    encoded = iter(
      tokenizer.encode_batch([text for example in chunk for text in example])
    )
    for number, example in enumerate(chunk, start=first):
      parts = [next(encoded) for _ in example]
      kept = _shortened(parts, max_length - 1 - len(parts))
      num_cut += sum(map(len, kept)) < sum(map(len, parts))
      place = 1
      rows[number, 0] = table.cls_id
      for part in kept:
        rows[number, place : place + len(part)] = part
        rows[number, place + len(part)] = table.sep_id
        place += len(part) + 1
  return rows, num_cut


class LabelledStream:
  """Examples in memory, shuffled anew each epoch: a pure function of numbers.

  The interface of data/stream.py's Stream.
  """

  def __init__(self, input_ids: np.ndarray, labels: np.ndarray, *, seed: int):
    """input_ids int32 [n, T], labels int32 [n]."""
    self._input_ids = input_ids
    self._labels = labels
    self._seed = seed
    digest = hashlib.sha256(f'{seed} {input_ids.shape}'.encode())
    digest.update(np.ascontiguousarray(input_ids))
    digest.update(np.ascontiguousarray(labels))
    self.fingerprint = digest.hexdigest()

  def batch(self, example_numbers: np.ndarray) -> dict[str, np.ndarray]:
    numbers = np.asarray(example_numbers).astype(np.uint64).reshape(-1)
    size = len(self._input_ids)
    epochs, positions = np.divmod(numbers, np.uint64(size))
    rows = Permutation(size, self._seed, epochs)(positions)
    return {
      'input_ids': self._input_ids[rows],
      'example_number': example_number_words(numbers),
      'labels': self._labels[rows],
      'label_weights': np.ones(len(rows), np.float32),
    }


def _shortened(parts: list[np.ndarray], room: int) -> list[np.ndarray]:
  lengths = [len(part) for part in parts]
  excess = sum(lengths) - room
  if excess > 0 and len(lengths) == 2:
    # The longer one down to the other's length, then both in turn.
    longer = int(lengths[1] > lengths[0])
    first_cut = min(excess, lengths[longer] - lengths[1 - longer])
    lengths[longer] -= first_cut
    excess -= first_cut
    lengths[longer] -= (excess + 1) // 2
    lengths[1 - longer] -= excess // 2
  elif excess > 0:
    lengths[0] -= excess
  return [part[:size] for part, size in zip(parts, lengths, strict=True)]


def _records(
  path: pathlib.Path, ending: str, columns: tuple[str, ...]
) -> Iterator[tuple[int, list[str]]]:
  """(line number, values of the columns) of each example."""
  open_fn = gzip.open if path.suffix == '.gz' else open
  with open_fn(path, 'rt', encoding='utf-8-sig', newline='') as file:
    if ending == '.jsonl':
      yield from _json_records(path, file, columns)
    elif ending == '.csv':
      reader = csv.reader(file, strict=True)
      lines = _csv_lines(path, reader)
      yield from _table_records(path, lines, columns)
    else:
      # TSV has no quoting: a quotation mark is text.
      lines = (
        (number, line.rstrip('\r\n').split('\t'))
        for number, line in enumerate(file, start=1)
      )
      yield from _table_records(path, lines, columns)


def _csv_lines(
  path: pathlib.Path, reader: Iterator[list[str]]
) -> Iterator[tuple[int, list[str]]]:
  try:
    for fields in reader:
      yield reader.line_num, fields
  except csv.Error as error:
    raise InputError(f'{path}:{reader.line_num}: not valid CSV: {error}') from (
      None
    )


def _table_records(
  path: pathlib.Path,
  lines: Iterator[tuple[int, list[str]]],
  columns: tuple[str, ...],
) -> Iterator[tuple[int, list[str]]]:
  if all(column.isdigit() for column in columns):
    places = [int(column) for column in columns]
  else:
    _, header = next(lines, (0, []))
    missing = [column for column in columns if column not in header]
    if missing:
      raise InputError(
        f'{path} has no column {missing[0]!r}; its header names '
        f'{", ".join(header) or "nothing"} (without a header, give numbers '
        'from 0)'
      )
    places = [header.index(column) for column in columns]
  for number, fields in lines:
    if fields in ([], ['']):
      continue
    if max(places) >= len(fields):
      raise InputError(
        f'{path}:{number} has {len(fields)} columns, but column '
        f'{max(places)} (from 0) is needed; mend the line'
      )
    yield number, [fields[place] for place in places]


def _json_records(
  path: pathlib.Path, lines: Iterator[str], columns: tuple[str, ...]
) -> Iterator[tuple[int, list[str]]]:
  for number, line in enumerate(lines, start=1):
    if not line.strip():
      continue
    try:
      record = json.loads(line)
    except (ValueError, RecursionError) as error:
      raise InputError(f'{path}:{number}: not valid JSON: {error}') from None
    if not isinstance(record, dict):
      raise InputError(f'{path}:{number}: not a JSON object; mend the line')
    missing = [column for column in columns if column not in record]
    if missing:
      raise InputError(
        f'{path}:{number} has no field {missing[0]!r}; it has '
        f'{", ".join(record)}'
      )
    yield number, [_as_text(record[column]) for column in columns]


def _as_text(value: object) -> str:
  # A label may be a number or a truth value; a text may be null.
  if isinstance(value, str):
    return value
  return '' if value is None else json.dumps(value, ensure_ascii=False)
