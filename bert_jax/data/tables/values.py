"""Cells of a table as what they serve for: texts, names of classes, ids.

A value of another kind is refused. Written out as JSON it would be a text that
nobody wrote, or a class that nobody meant.
"""

import json
import math
import re
from typing import Any, NamedTuple

from bert_jax.data.tables.table import Table
from bert_jax.errors import InputError, cut, quoted

_SURROGATES = re.compile('[\ud800-\udfff]')


class AnswerSpan(NamedTuple):
  """An answer as its text, and the character of the context it begins at."""

  text: str
  start: int


def texts(table: Table, column: str) -> list[str]:
  """The texts of a column; an empty one is a text.

  Raises:
    InputError: A value is no string, or holds half of a surrogate pair.
  """
  cells = table.columns[column]
  for origin, cell in zip(table.origins, cells, strict=True):
    if not isinstance(cell, str):
      raise InputError(
        f'{origin}: the text is {_found(cell)} in column {quoted(column)}; '
        f'{_text_advice(cell)}.'
      )
    _check_characters(cell, column, origin)
  return cells


def labels(table: Table, column: str) -> list[str]:
  """The names of classes in a column; of a number or boolean its JSON.

  Raises:
    InputError: A label is null, empty, a list or an object; or two are written
      alike and are of different types, as 1 and "1".
  """
  names: list[str] = []
  first_of: dict[str, tuple[Any, str]] = {}
  for origin, cell in zip(table.origins, table.columns[column], strict=True):
    name = _label(cell, column, origin)
    names.append(name)
    first, where = first_of.setdefault(name, (cell, origin))
    if isinstance(first, str) != isinstance(cell, str):
      raise InputError(
        f'{origin}: the label is {_found(cell)}, and in {where} it is '
        f'{_found(first)}; write both alike.'
      )
  return names


def numbers(table: Table, column: str) -> list[float]:
  """The numbers of a column; a string is read as one.

  Raises:
    InputError: A value is no number, or is not finite.
  """
  found = []
  for origin, cell in zip(table.origins, table.columns[column], strict=True):
    try:
      # isinstance would accept a bool as an int, and float() would accept 1_0.
      is_number = type(cell) in (str, int, float) and '_' not in str(cell)
      value = float(cell) if is_number else math.nan
    except (ValueError, OverflowError):
      value = math.nan
    if not math.isfinite(value):
      raise InputError(
        f'{origin}: the label is {_found(cell)} in column {quoted(column)}, '
        'which is no number; mend it, or leave the line out.'
      )
    found.append(value)
  return found


def words(table: Table, column: str) -> list[tuple[str, ...]]:
  """The words, or the labels of words, of a column: a tuple a sentence.

  Raises:
    InputError: A value is no list, or has something else in it than words.
  """
  found = []
  for origin, cell in zip(table.origins, table.columns[column], strict=True):
    if not isinstance(cell, list) or not cell:
      raise InputError(
        f'{origin}: the sentence is {_found(cell)} in column {quoted(column)}; '
        'give a list of strings, one for each word'
      )
    for number, word in enumerate(cell, 1):
      if not isinstance(word, str) or not word:
        raise InputError(
          f'{origin}: word {number} in column {quoted(column)} is '
          f'{_found(word)}; give a string that is not empty'
        )
      _check_characters(word, column, origin)
    found.append(tuple(cell))
  return found


def choices(table: Table, column: str) -> list[tuple[str, ...]]:
  """The texts of a column to choose from: a tuple an example.

  Raises:
    InputError: A value is no list of two or more strings that are not empty.
  """
  found = []
  for origin, cell in zip(table.origins, table.columns[column], strict=True):
    is_list = isinstance(cell, list) and len(cell) > 1
    if not is_list or not all(isinstance(x, str) and x.strip() for x in cell):
      raise InputError(
        f'{origin}: column {quoted(column)} is {_found(cell)}; give a list of '
        'two or more strings that are not empty, one for each choice'
      )
    for text in cell:
      _check_characters(text, column, origin)
    found.append(tuple(cell))
  return found


def places(table: Table, column: str) -> list[int]:
  """The whole numbers from 0 of a column; a string is read as one.

  Raises:
    InputError: A value is something else.
  """
  found = []
  for origin, cell in zip(table.origins, table.columns[column], strict=True):
    # A longer one is the number of nothing, and may be too long for int().
    is_text = isinstance(cell, str) and cell.isascii() and cell.isdecimal()
    # isinstance would accept a bool as an int.
    if not (is_text and len(cell) < 10) and (type(cell) is not int or cell < 0):
      raise InputError(
        f'{origin}: the label is {_found(cell)} in column {quoted(column)}; '
        'give the number of the right choice, from 0'
      )
    found.append(int(cell))
  return found


def filled_texts(table: Table, column: str) -> list[str]:
  """The texts of a column as `texts`; an empty one is refused too."""
  cells = texts(table, column)
  for origin, cell in zip(table.origins, cells, strict=True):
    if not cell.strip():
      raise InputError(
        f'{origin}: column {quoted(column)} is empty; fill it in, or leave the '
        'record out'
      )
  return cells


def answers(table: Table, column: str) -> list[tuple[AnswerSpan, ...]]:
  """The answers of a column: any number a question, none without an answer.

  A cell is a list of {"text", "answer_start"}, as in SQuAD's files, or one
  object with these two lists, as in Hugging Face's data sets.

  Raises:
    InputError: A cell has neither form, or a text is empty.
  """
  return [
    _answers(cell, column, origin)
    for origin, cell in zip(table.origins, table.columns[column], strict=True)
  ]


def _answers(cell: Any, column: str, origin: str) -> tuple[AnswerSpan, ...]:
  pairs: Any = cell
  if isinstance(cell, dict):
    given, starts = cell.get('text'), cell.get('answer_start')
    if isinstance(given, list) and isinstance(starts, list):
      if len(given) != len(starts):
        raise InputError(
          f'{origin}: column {quoted(column)} has {len(given)} texts and '
          f'{len(starts)} answer_start; give one for each answer'
        )
      pairs = [
        {'text': text, 'answer_start': start}
        for text, start in zip(given, starts, strict=True)
      ]
  if not isinstance(pairs, list):
    raise InputError(
      f'{origin}: column {quoted(column)} is {_found(cell)}; give a list of '
      'objects with "text" and "answer_start"'
    )
  found = []
  for number, pair in enumerate(pairs, 1):
    fields = pair if isinstance(pair, dict) else {}
    text, start = fields.get('text'), fields.get('answer_start')
    # isinstance would accept a bool as an int.
    if not isinstance(text, str) or not text.strip() or type(start) is not int:
      raise InputError(
        f'{origin}: answer {number} in column {quoted(column)} has the text '
        f'{_found(text)} and answer_start {_found(start)}; give a text that is '
        'not empty, and the character of the context at which it begins'
      )
    _check_characters(text, column, origin)
    found.append(AnswerSpan(text, start))
  return tuple(found)


def unique_ids(table: Table, column: str) -> list[Any]:
  """The ids of a column, which must differ: strings or whole numbers.

  Raises:
    InputError: An id is something else, or stands in two records.
  """
  first_of: dict[Any, str] = {}
  for origin, cell in zip(table.origins, table.columns[column], strict=True):
    if type(cell) not in (str, int):
      raise InputError(
        f'{origin}: the id is {_found(cell)} in column {quoted(column)}; give '
        'a string or a whole number'
      )
    if cell in first_of:
      raise InputError(
        f'{origin}: the id {_found(cell)} is that of {first_of[cell]} too; '
        'give each record its own'
      )
    first_of[cell] = origin
  return table.columns[column]


def ids(table: Table, column: str) -> list[Any]:
  """The ids of a column, whatever they are; None for the NaN of pandas."""
  cells = table.columns[column]
  return [None if cell != cell else cell for cell in cells]


def _label(cell: Any, column: str, origin: str) -> str:
  if isinstance(cell, str):
    if not cell.strip():
      raise InputError(
        f'{origin}: the label in column {quoted(column)} is empty; fill it in, '
        'or leave the line out.'
      )
    _check_characters(cell, column, origin)
    return cell
  if isinstance(cell, bool) or _is_number(cell):
    return json.dumps(cell)
  if cell is None:
    advice = 'fill it in, or leave the record out'
  elif isinstance(cell, list):
    advice = 'several labels a text are not supported'
  else:
    advice = 'give a name or a number'
  raise InputError(
    f'{origin}: the label is {_found(cell)} in column {quoted(column)}; '
    f'{advice}.'
  )


def _is_number(cell: Any) -> bool:
  """Returns whether a value is a number, and one that JSON has."""
  if isinstance(cell, bool) or not isinstance(cell, int | float):
    return False
  return isinstance(cell, int) or math.isfinite(cell)


def _found(cell: Any) -> str:
  """Names the type of a value and its beginning: 'a list ([0, 1])'."""
  if cell is None:
    return 'null'
  if isinstance(cell, str):
    return f'the string {quoted(cell)}'
  if isinstance(cell, bool):
    return json.dumps(cell)
  if isinstance(cell, int | float):
    return f'the number {_short(cell)}'
  if isinstance(cell, list):
    return f'a list ({_short(cell)})'
  if isinstance(cell, dict):
    return f'an object ({_short(cell)})'
  return f'a value of type {type(cell).__name__} ({_short(cell)})'


def _short(cell: Any) -> str:
  try:
    text = json.dumps(cell, default=str)
  except RecursionError:
    text = '...'
  return cut(text, 40)


def _text_advice(cell: Any) -> str:
  if isinstance(cell, list):
    return 'join its parts to one string'
  if isinstance(cell, dict):
    return 'write the string that is meant into a column of its own'
  if cell is None:
    return 'fill it in, or leave the record out'
  return 'a text is a string; name the column of texts, or write it in quotes'


def _check_characters(text: str, column: str, origin: str) -> None:
  if not text.isascii() and _SURROGATES.search(text):
    raise InputError(
      f'{origin}: column {quoted(column)} holds half of a surrogate pair (as '
      '\\ud800), which is no character; mend it.'
    )
