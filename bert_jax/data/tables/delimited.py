"""Rows of .csv and .tsv files, every one as wide as the first.

Two dialects that must not be taken for each other: in a .csv (RFC 4180) a field
in quotes may hold delimiters and line breaks; in a .tsv as GLUE has them a
quote is an ordinary character, and a field holds neither.
"""

import csv
import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

from bert_jax.data.sources import files
from bert_jax.data.tables.strict_lines import strict_lines
from bert_jax.errors import InputError


class Row(NamedTuple):
  """The cells of a row, and the line from 1 where it begins."""

  line: int
  cells: list[str]


@dataclasses.dataclass(frozen=True)
class Dialect:
  """How the fields of a line are told apart.

  quoting: a field may stand in quotes, as in a .csv.
  """

  delimiter: str
  quoting: bool

  @property
  def name(self) -> str:
    """The delimiter within a message."""
    return {'\t': 'tab', ',': 'comma'}.get(self.delimiter, repr(self.delimiter))


CSV = Dialect(',', quoting=True)
TSV = Dialect('\t', quoting=False)
SEMICOLONS = Dialect(';', quoting=True)

# The second and third line of Orange's .tab: what columns hold, and are for.
_ORANGE_TYPES = frozenset(
  ('', 'd', 'discrete', 'c', 'continuous', 's', 'string', 't', 'time')
)
_ORANGE_ROLES = frozenset(('', 'class', 'c', 'meta', 'm', 'ignore', 'i'))


def strict_rows(
  path: pathlib.Path, dialect: Dialect, notes: list[str] | None = None
) -> Iterator[Row]:
  """Yields the rows of a file, the header among them, all of one width.

  A blank line is a row with one empty cell where rows have one cell. In a wider
  table it is no row: at the end of the file it is passed over, and an error
  elsewhere, since whatever counts lines would be off by one from there. Of a
  .tab the lines are left out in which Orange tells the types of columns.

  Args:
    path: A file, which may be compressed (.gz, .xz, .zst).
    dialect: How to split lines.
    notes: Receives a line for whoever started the program, if there is reason.

  Raises:
    InputError: A row is wider or narrower than the first, a blank line is not
      at the end, a quote is never closed, line ends are mixed with single
      carriage returns, or a byte is no text.
  """
  notes = [] if notes is None else notes
  if dialect.quoting:
    rows = _quoted_rows(path, dialect, notes)
  else:
    rows = _plain_rows(path, dialect)
  if files.text_ending(path) == '.tab':
    rows = _without_orange(path, rows, notes)
  return _of_one_width(path, rows, dialect)


def opens_quote(cell: str) -> bool:
  """Whether a cell of a .tsv looks like the beginning of a quoted field."""
  return cell.startswith('"') and cell.count('"') % 2 == 1


def _without_orange(
  path: pathlib.Path, rows: Iterator[Row], notes: list[str]
) -> Iterator[Row]:
  """Drops lines 2 and 3 where they are those of Orange, and blanks below."""
  top = list(itertools.islice(rows, 3))
  if (
    len(top) == 3
    and all(row.cells for row in top)
    and any(top[1].cells)
    and _ORANGE_TYPES.issuperset(top[1].cells)
    and _ORANGE_ROLES.issuperset(top[2].cells)
  ):
    notes.append(f'{path}: lines 2 and 3 tell the types of columns (Orange)')
    yield top[0]
    yield from itertools.dropwhile(lambda row: not row.cells, rows)
  else:
    yield from itertools.chain(top, rows)


def _of_one_width(
  path: pathlib.Path, rows: Iterator[Row], dialect: Dialect
) -> Iterator[Row]:
  first = next(rows, None)
  if first is None:
    return
  if not first.cells:
    raise InputError(f'{path}:1: is blank; begin the file with its first row.')
  yield first
  width, before, blank = len(first.cells), first, None
  for row in rows:
    if not row.cells:
      if width == 1:
        yield Row(row.line, [''])
      else:
        blank = blank or row
      continue
    if blank:
      raise InputError(
        f'{path}:{blank.line}: is blank, between rows of {width} columns; '
        'remove it, or fill it in.'
      )
    if len(row.cells) != width:
      raise InputError(
        f'{path}:{row.line}: the line has {_columns(len(row.cells))}, '
        f'the first line {width}; {_cause(row, before, width, dialect)}'
      )
    yield row
    before = row


def _plain_rows(path: pathlib.Path, dialect: Dialect) -> Iterator[Row]:
  ends = _LineEnds(path)
  for number, line in strict_lines(path):
    text = ends.without(number, line)
    yield Row(number, text.split(dialect.delimiter) if text else [])


def _quoted_rows(
  path: pathlib.Path, dialect: Dialect, notes: list[str]
) -> Iterator[Row]:
  # Its default of 131,072 characters is less than some documents have.
  csv.field_size_limit(sys.maxsize)
  ends = _LineEnds(path)
  last = ''

  def lines() -> Iterator[str]:
    nonlocal last
    for _, last in strict_lines(path):
      yield last

  reader = csv.reader(lines(), delimiter=dialect.delimiter, strict=True)
  start, num_broken, longest = 1, 0, (0, 0)
  try:
    for cells in reader:
      ends.without(reader.line_num, last)
      yield Row(start, cells)
      num_lines = reader.line_num - start + 1
      num_broken += num_lines > 1
      longest = max(longest, (num_lines, -start))
      start = reader.line_num + 1
  except csv.Error as error:
    why = str(error)
    if why == 'unexpected end of data':
      why = 'a quote is opened here and never closed'
    elif 'expected after' in why:
      why += '; a quote within a quoted field is written twice'
    raise InputError(
      f'{path}:{start}: is not well-formed ({why}); mend it.'
    ) from error
  if num_broken:
    notes.append(
      f'{path}: {num_broken:,} rows hold line breaks within quotes, the '
      f'longest {longest[0]:,} lines from line {-longest[1]} on'
    )


class _LineEnds:
  """Sees to it that rows do not end now in a line feed, now in CR alone."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._seen = ''

  def without(self, number: int, line: str) -> str:
    """The line without its end."""
    for end in ('\r\n', '\n', '\r'):
      if not line.endswith(end):
        continue
      kind = 'CR' if end == '\r' else 'LF'
      self._seen = self._seen or kind
      if kind != self._seen:
        raise InputError(
          f'{self._path}:{number}: a carriage return alone ends this line or '
          'those before, and others end in a line feed; write all ends alike, '
          'and no carriage return within a field.'
        )
      return line[: -len(end)]
    return line


def _cause(row: Row, before: Row, width: int, dialect: Dialect) -> str:
  cells = row.cells
  if dialect.quoting:
    if len(cells) == width + 1 and not cells[-1]:
      return f'the line ends in a {dialect.name}; remove it, or mend the first.'
    if len(cells) > width:
      return (
        f'a field that holds a {dialect.name} must stand in quotes, and quotes '
        'follow the delimiter at once.'
      )
    return 'mend it.'
  # The line before may end in the first half of a field, and be wide enough.
  if opens_quote(cells[-1]) or opens_quote(before.cells[-1]):
    return (
      'it seems to be a quoted field with a line break: a .tsv has none; save '
      'it as .csv.'
    )
  if len(cells) > width and any(map(opens_quote, cells)):
    return (
      'it seems to be a quoted field with a tab: a .tsv has none; save it as '
      '.csv.'
    )
  if len(cells) > width:
    return 'replace the tabs within a field by spaces.'
  return 'mend it.'


def _columns(count: int) -> str:
  return '1 column' if count == 1 else f'{count} columns'
