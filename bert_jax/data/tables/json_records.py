"""Records of .jsonl, .ndjson and .json files: one JSON object each."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from bert_jax.data.sources import first_bytes, json_records
from bert_jax.data.tables.strict_lines import StrictReport, strict_lines
from bert_jax.errors import InputError, listed, quoted

Record = dict[str, Any]


def read_records(
  path: pathlib.Path, *, in_lines: bool
) -> Iterator[tuple[int, Record]]:
  """Yields (line from 1, object) of a file with an array, or one object a line.

  Args:
    path: The file; an array is known by its first character.
    in_lines: Whether objects without an array have a line each. Blank lines are
      then passed over at the end of the file, and an error elsewhere: whatever
      counts lines would be off by one from there.

  Raises:
    InputError: A line is blank or no object, has a key twice, or is no text.
  """
  if in_lines and not json_records.is_array(first_bytes.read_beginning(path)):
    values = _read_lines(path)
  else:
    whole = json_records.read_values(path, StrictReport(), _object)
    values = ((line, value) for line, value, _ in whole)
  for line, record in values:
    if not isinstance(record, dict):
      raise InputError(f'{path}:{line}: is no JSON object; mend it.')
    yield line, record


def _read_lines(path: pathlib.Path) -> Iterator[tuple[int, Any]]:
  blank = 0
  for number, line in strict_lines(path):
    if line.isspace():
      blank = blank or number
      continue
    if blank:
      raise InputError(
        f'{path}:{blank}: is blank, between records; remove it, or fill it in.'
      )
    try:
      yield number, json.loads(line, object_pairs_hook=_object)
    except json_records.RepeatedKey as error:
      raise InputError(
        f'{path}:{number}: {error}; leave one of them.'
      ) from error
    except (ValueError, RecursionError) as error:
      raise InputError(
        f'{path}:{number}: is not JSON ({error}); mend it.'
      ) from error


def missing_key(
  origin: str, column: str, record: Record, flag: str, *, is_alone: bool
) -> InputError:
  """The error for a record that lacks a column.

  is_alone: the file holds no other record, so that this may be a whole table.
  """
  keys = listed(list(record)) or 'none'
  why = ''
  if is_alone and _holds_records(record):
    why = (
      ' (it seems to hold the whole table; give an object for each example, in '
      'lines or one array, as pandas writes with orient="records")'
    )
  return InputError(
    f'{origin}: there is no column {quoted(column)}; there are {keys}{why}; '
    f'name one with {flag}, or mend the record.'
  )


def _holds_records(record: Record) -> bool:
  """Returns whether an object is no record, but a table as a whole."""
  values = list(record.values())
  lists = [value for value in values if isinstance(value, list)]
  return (
    any(items and isinstance(items[0], dict | list) for items in lists)
    or all(isinstance(value, dict) for value in values)
  ) and bool(values)


def _object(pairs: list[tuple[str, Any]]) -> Record:
  found = dict(pairs)
  if len(found) < len(pairs):
    seen: set[str] = set()
    for key, _ in pairs:
      if key in seen:
        raise json_records.RepeatedKey(f'the key {quoted(key)} is there twice')
      seen.add(key)
  return found
