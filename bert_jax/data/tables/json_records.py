"""Records of .jsonl, .ndjson and .json files: one JSON object each."""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from bert_jax.data.tables.strict_lines import strict_lines
from bert_jax.errors import InputError, listed, quoted

Record = dict[str, Any]
_SPACE = re.compile(r'[ \t\r\n]*')


class _RepeatedKey(ValueError):
  """An object has a key twice."""


def read_lines(path: pathlib.Path) -> Iterator[tuple[int, Record]]:
  """Yields (line from 1, object) of a file with one object a line.

  Blank lines are passed over at the end of the file, and an error elsewhere:
  whatever counts lines would be off by one from there.

  Raises:
    InputError: A line is blank or no object, has a key twice, or is no text.
  """
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
      record = json.loads(line, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
      if number == 1 and line.startswith('['):
        raise InputError(
          f'{path}: is a JSON array, not lines; name it .json.'
        ) from error
      raise _no_json(f'{path}:{number}', error) from error
    if number == 1 and isinstance(record, list):
      if all(isinstance(item, dict) for item in record):
        raise InputError(f'{path}: is a JSON array, not lines; name it .json.')
    yield number, _checked(record, f'{path}:{number}')


def read_document(path: pathlib.Path) -> Iterator[tuple[int, Record]]:
  """Yields (line from 1, object) of one array of objects, or of such lines.

  An object may take several lines.

  Raises:
    InputError: As read_lines.
  """
  text = ''.join(line for _, line in strict_lines(path))
  place = _after_space(text, 0)
  is_array = text.startswith('[', place)
  if is_array:
    place = _after_space(text, place + 1)
    if text.startswith(']', place):
      place = _after_space(text, place + 1)
  decoder = json.JSONDecoder(object_pairs_hook=_object)
  line, counted = 1, 0
  while place < len(text):
    line += _line_ends(text, counted, place)
    counted = place
    origin = f'{path}:{line}'
    try:
      record, place = decoder.raw_decode(text, place)
    except (ValueError, RecursionError) as error:
      raise _no_json(origin, error) from error
    yield line, _checked(record, origin)
    place = _after_space(text, place)
    if not is_array:
      continue
    mark = text[place : place + 1]
    place = _after_space(text, place + 1)
    if mark == ']' and place == len(text):
      return
    if mark != ',' or place == len(text):
      raise InputError(
        f'{origin}: the JSON array is not well-formed behind the record of '
        'this line; the file may be cut off or damaged.'
      )


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
  """Whether an object is no record, but a table as a whole."""
  values = list(record.values())
  lists = [value for value in values if isinstance(value, list)]
  return (
    any(items and isinstance(items[0], dict | list) for items in lists)
    or all(isinstance(value, dict) for value in values)
  ) and bool(values)


def _checked(record: Any, origin: str) -> Record:
  if not isinstance(record, dict):
    raise InputError(f'{origin}: is no JSON object; mend it.')
  return record


def _object(pairs: list[tuple[str, Any]]) -> Record:
  found = dict(pairs)
  if len(found) < len(pairs):
    seen: set[str] = set()
    for key, _ in pairs:
      if key in seen:
        raise _RepeatedKey(f'the key {quoted(key)} is there twice')
      seen.add(key)
  return found


def _no_json(origin: str, error: Exception) -> InputError:
  if isinstance(error, _RepeatedKey):
    return InputError(f'{origin}: {error}; leave one of them.')
  return InputError(f'{origin}: is not JSON ({error}); mend it.')


def _after_space(text: str, place: int) -> int:
  found = _SPACE.match(text, place)
  return found.end() if found else place


def _line_ends(text: str, start: int, end: int) -> int:
  """Counts LF, CRLF and CR as one line end each."""
  ends = text.count('\n', start, end) + text.count('\r', start, end)
  return ends - text.count('\r\n', start, end)
