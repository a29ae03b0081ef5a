"""Writes columns of Python's or numpy's values as a table of JSON lines."""

import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from bert_jax import durable_files
from bert_jax.errors import InputError, quoted

_ENDINGS = ('.jsonl', '.ndjson')


def write_columns(
  path: str | os.PathLike[str], columns: Mapping[str, Sequence[Any]]
) -> None:
  """Writes a JSON line for each place of the columns, in their order.

  Args:
    path: The file, which ends in .jsonl or .ndjson; one that is there is
      replaced once the new one is whole.
    columns: Values by name: lists, tuples, arrays of numpy or columns of
      pandas, of texts, numbers, booleans, or lists of these.

  Raises:
    InputError: The path ends otherwise, columns differ in length, or a value is
      missing or is none that JSON has.
  """
  path = pathlib.Path(os.path.expanduser(os.fspath(path)))
  if path.suffix not in _ENDINGS:
    raise InputError(f'{path}: these are JSON lines; end its name in .jsonl')
  lists = {name: _values(name, column) for name, column in columns.items()}
  lengths = {name: len(column) for name, column in lists.items()}
  if len(set(lengths.values())) != 1 or not all(lengths.values()):
    shown = ', '.join(f'{name} has {n}' for name, n in lengths.items())
    raise InputError(
      f'{path}: give columns of one length, above 0; '
      f'{shown or "there are none"}'
    )
  with durable_files.new_file(path) as file:
    for place, row in enumerate(zip(*lists.values(), strict=True)):
      record = dict(zip(lists, row, strict=True))
      for name, value in record.items():
        if value is None or (isinstance(value, float) and math.isnan(value)):
          raise InputError(
            f'{name}[{place}] is missing ({value}); fill it in, or leave the '
            'example out'
          )
      file.write(_line(record, place))


def _values(name: str, column: Sequence[Any]) -> list[Any]:
  if isinstance(column, str | bytes | Mapping):
    raise InputError(
      f'{name} is a {type(column).__name__}; give a list with a value for each '
      'example'
    )
  # numpy and pandas turn their numbers into those of Python so.
  tolist = getattr(column, 'tolist', None)
  return tolist() if tolist else [*column]


def _line(record: dict[str, Any], place: int) -> bytes:
  try:
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    return (text + '\n').encode()
  except (TypeError, ValueError) as error:
    raise InputError(
      f'example {place} ({quoted(str(record))}) is not JSON: {error}; give '
      'texts, finite numbers, booleans, or lists of these'
    ) from error
