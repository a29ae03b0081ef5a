"""Sentences in columns, as CoNLL's shared tasks have them: a word in each line.

A blank line ends a sentence. Columns are parted by tabs where the first line
has one, else by spaces; only the first and the last of them matter to most.
"""

import os
import pathlib
import re
from collections.abc import Iterator, Mapping

from bert_jax.data.tables.reading import check_file
from bert_jax.data.tables.strict_lines import strict_lines
from bert_jax.data.tables.table import Table
from bert_jax.errors import InputError, listed, quoted

# Stands in the place of a word where a document begins.
_DOCUMENT = '-DOCSTART-'
_NUMBER = re.compile(r'-?\d{1,9}')


def sentence_pieces(
  path: str | os.PathLike[str],
  columns: Mapping[str, str],
  *,
  header_setting: str = '',
  flags: str = '--config.task.',
  size: int = 0,
) -> Iterator[Table]:
  """Yields tables of a record for each sentence: its lists of cells.

  Args:
    path: The file, which may be compressed.
    columns: Numbers from 0, or from -1 backwards, each with the flag that gives
      it; names where `header_setting` is 'yes'.
    header_setting: 'yes' where the first line names the columns.
    flags: What these flags begin with, for messages.
    size: Sentences of a table; 0: all.

  Raises:
    InputError: A line lacks a column, is wider than the first, or is damaged.
  """
  path = pathlib.Path(os.path.expanduser(os.fspath(path)))
  table = Table(columns={name: [] for name in columns})
  width, places, num_documents, is_open = 0, {}, 0, False
  for number, cells in _rows(path):
    if not cells:
      is_open = False
      continue
    origin = f'{path}:{number}'
    if not places:
      width, names = len(cells), cells if header_setting == 'yes' else None
      places = _places(origin, width, columns, names, flags)
      if names:
        continue
    if len(cells) != width:
      raise InputError(
        f'{origin}: has {len(cells)} columns, and the first line {width}; in '
        f'this one there are {listed(cells)}; mend it'
      )
    if cells[0] == _DOCUMENT:
      num_documents += 1
      continue
    if not is_open:
      if 0 < size <= len(table.lines):
        yield table
        table = Table(columns={name: [] for name in columns})
      table.lines.append(number)
      table.origins.append(origin)
      for column in table.columns.values():
        column.append([])
    is_open = True
    for name, place in places.items():
      if not cells[place].strip():
        raise InputError(f'{origin}: column {place} is empty; fill it in')
      table.columns[name][-1].append(cells[place])
  if num_documents:
    table.notes.append(
      f'{path}: {num_documents:,} lines {_DOCUMENT} are passed over'
    )
  yield table


def _rows(path: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
  """Yields (line, cells) of each line; a blank one has none."""
  check_file(path)
  separator = ''
  for number, line in strict_lines(path):
    line = line.rstrip('\r\n')
    if not line.strip():
      yield number, []
      continue
    separator = separator or ('\t' if '\t' in line else ' +')
    whole = line if separator == '\t' else line.strip(' ')
    yield number, re.split(separator, whole)


def _places(
  origin: str,
  width: int,
  columns: Mapping[str, str],
  names: list[str] | None,
  flags: str,
) -> dict[str, int]:
  """The place of each column in a line."""
  found = {}
  for column, flag in columns.items():
    if names is not None and column in names:
      found[column] = names.index(column)
    elif _NUMBER.fullmatch(column) and -width <= int(column) < width:
      found[column] = int(column) % width
    else:
      raise InputError(
        f'{origin}: there is no column {quoted(column)} among {width}; give '
        f'{flags}{flag} a number from 0, or from -1 backwards'
      )
  if len({*found.values()}) < len(found):
    raise InputError(
      f'{origin}: columns {listed([*found])} are one and the same of {width}; '
      'give words and labels a column each'
    )
  return found
