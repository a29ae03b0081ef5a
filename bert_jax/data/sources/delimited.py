"""CSV, TSV and Orange's .tab files as rows, read strictly.

Corpora and labelled tables are both read here, so that a question of dialect is
decided once. In a .csv (RFC 4180) a field in quotes may hold delimiters, line
breaks and "" for a quote; in a .tsv as GLUE has them a quote is an ordinary
character, and a field holds neither tabs nor line breaks. A table that is not
what it seems (a row of another width, a quote that is not closed) is refused
with its line: values that slide into the next column look like any others.
"""

import csv
import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from bert_jax.data.sources import base, files, orange, tsv_quotes
from bert_jax.errors import InputError


class Row(NamedTuple):
  """The cells of a row, and the line from 1 where it begins."""

  line: int
  cells: list[str]


@dataclasses.dataclass(frozen=True)
class Dialect:
  """The rules by which the fields of a line are told apart.

  Attributes:
    delimiter: One character.
    quoting: Whether a field may stand in quotes, as in a .csv.
    orange: Whether two lines of types and flags may follow the first.
  """

  delimiter: str
  quoting: bool
  orange: bool = False

  @property
  def name(self) -> str:
    """The delimiter within a message."""
    return {'\t': 'tab', ',': 'comma'}.get(self.delimiter, repr(self.delimiter))


DIALECTS = {
  'csv': Dialect(',', quoting=True),
  'tsv': Dialect('\t', quoting=False),
  'tab': Dialect('\t', quoting=False, orange=True),
}
# Other separators of a .csv: Excel writes semicolons where the comma is
# the decimal mark, and pandas whatever it is told.
_OTHER_DELIMITERS = (';', '\t')


def read_rows(
  path: pathlib.Path,
  dialect: Dialect,
  report: base.ReadReport,
  *,
  each_line: bool = False,
  named: bool = True,
  notes: list[str] | None = None,
) -> Iterator[Row]:
  """Yields the rows of a file, the header among them, all of one width.

  Args:
    path: A file, which may be compressed (.gz, .xz, .zst).
    dialect: How to split lines. Orange's lines of types are left out.
    report: Receives 'undecodable_bytes'.
    each_line: Whether lines are counted by whoever reads the result. A blank
      line is then a row of one empty cell where rows have one cell; in a wider
      table it may stand at the end, and is an error elsewhere. Without it blank
      lines are passed over.
    named: Whether the first row is a header, which may not come twice.
    notes: Receives a line for whoever started the program, if there is reason.

  Raises:
    InputError: A row is wider or narrower than the first, a quote is never
      closed, line ends are mixed with single carriage returns, or a .tsv is
      quoted as a .csv.
  """
  notes = [] if notes is None else notes
  ends = _LineEnds(path, each_line)
  if dialect.quoting:
    rows = _quoted_rows(path, dialect, report, ends, notes)
  else:
    rows = _plain_rows(path, dialect, report, ends)
  if not each_line:
    rows = itertools.dropwhile(_is_blank, rows)
  first = next(rows, None)
  if first is None:
    return
  if not first.cells:
    raise InputError(f'{path}:1: is blank; begin the file with its first row.')
  if dialect.orange:
    rows = _below_orange_lines(path, rows, first.cells, notes)
  yield first
  once = first.cells if named and len(first.cells) > 1 else None
  yield from _of_one_width(path, first, rows, dialect, each_line, once)


def csv_dialect(
  path: pathlib.Path,
  has_columns: Callable[[Sequence[str]], bool],
  notes: list[str],
) -> Dialect:
  """The dialect of a .csv, whose name promises commas.

  Another delimiter is taken, and noted, where the first line has the columns
  that are asked for if it is split there, and not if it is split at commas.

  Args:
    path: The file.
    has_columns: Whether the cells of the first line have these columns.
    notes: Receives a line for whoever started the program.
  """
  csv.field_size_limit(sys.maxsize)
  lines = (text for _, text in _whole_lines(path, base.ReadReport()))
  line = next((text for text in lines if text.strip()), '').rstrip('\r\n')

  def is_separated(delimiter: str) -> bool:
    return has_columns(next(csv.reader([line], delimiter=delimiter), []))

  dialect = DIALECTS['csv']
  if not is_separated(','):
    for delimiter in filter(is_separated, _OTHER_DELIMITERS):
      dialect = Dialect(delimiter, quoting=True)
      notes.append(f'{path}: is separated by {delimiter!r}')
      break
  return dialect


def _is_blank(row: Row) -> bool:
  return not row.cells


def _of_one_width(
  path: pathlib.Path,
  first: Row,
  rows: Iterator[Row],
  dialect: Dialect,
  each_line: bool,
  once: list[str] | None,
) -> Iterator[Row]:
  """Yields `rows`, those below the first, without blanks; see read_rows."""
  width, before, blank = len(first.cells), first, None
  for row in rows:
    if not row.cells:
      if each_line and width == 1:
        yield Row(row.line, [''])
      elif each_line:
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
    if row.cells == once:
      raise InputError(
        f'{path}:{row.line}: is the header once more, as where files were '
        'joined; remove the line.'
      )
    yield row
    before = row


class _LineEnds:
  """Sees to it that rows do not end now in a line feed, now in CR alone.

  Args:
    path: For messages.
    each_line: Whether blank lines are looked at: files that Python wrote on
      Windows may have one of another end behind each row (CR CR LF).
  """

  def __init__(self, path: pathlib.Path, each_line: bool):
    self._path = path
    self._each_line = each_line
    self._has_cr: bool | None = None

  def check(self, number: int, line: str) -> None:
    """Raises InputError if the line does not end as those before."""
    has_cr = line.endswith('\r')
    if has_cr is self._has_cr or not (has_cr or line.endswith('\n')):
      return
    if not self._each_line and not line.strip('\r\n'):
      return
    if self._has_cr is not None:
      raise InputError(
        f'{self._path}:{number}: a carriage return alone ends this line or '
        'those before, and others end in a line feed; write all ends alike, '
        'and no carriage return within a field.'
      )
    self._has_cr = has_cr


def _plain_rows(
  path: pathlib.Path,
  dialect: Dialect,
  report: base.ReadReport,
  ends: _LineEnds,
) -> Iterator[Row]:
  quotes = tsv_quotes.Quotes(path)
  for number, line in _whole_lines(path, report):
    ends.check(number, line)
    text = line.rstrip('\r\n')
    cells = text.split(dialect.delimiter) if text else []
    quotes.add(number, text, cells)
    yield Row(number, cells)
  quotes.check()


def _quoted_rows(
  path: pathlib.Path,
  dialect: Dialect,
  report: base.ReadReport,
  ends: _LineEnds,
  notes: list[str],
) -> Iterator[Row]:
  # The limit of 131,072 characters is less than some documents have.
  csv.field_size_limit(sys.maxsize)
  lines = _RecordLines(path, report)
  reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
  num_broken, longest = 0, (0, 0)
  try:
    for cells in reader:
      first, last = lines.first, lines.last
      ends.check(last, lines.text)
      yield Row(first, cells)
      if last > first:
        num_broken += 1
        longest = max(longest, (last - first + 1, -first))
      lines.first = 0
  except csv.Error as error:
    why = str(error)
    if why == 'unexpected end of data':
      why = 'a quote is opened in this row and never closed'
    elif 'expected after' in why:
      why += '; a quote within a quoted field is written twice'
    raise InputError(
      f'{path}:{max(1, lines.first)}: is not well-formed CSV ({why}); mend it.'
    ) from error
  if num_broken:
    notes.append(
      f'{path}: {num_broken:,} rows hold line breaks within quotes, the '
      f'longest {longest[0]:,} lines from line {-longest[1]} on'
    )


class _RecordLines:
  """The lines of a file for csv.reader, and where its current record stands.

  Attributes:
    first: Its first line; 0 makes the next one the first of a record.
    last: Its last line so far.
    text: That line.
  """

  def __init__(self, path: pathlib.Path, report: base.ReadReport):
    self.first = self.last = 0
    self.text = ''
    self._path = path
    self._lines = _whole_lines(path, report)

  def __iter__(self) -> Iterator[str]:
    size = 0
    for number, text in self._lines:
      self.last, self.text = number, text
      if not self.first:
        self.first, size = number, 0
      size += len(text)
      # A quote that is never closed would take the rest of the file.
      if size > files.MAX_LINE_CHARACTERS:
        raise InputError(
          f'{self._path}:{self.first}: a record that begins here is longer '
          f'than {files.MAX_LINE_CHARACTERS:,} characters; close its quote.'
        )
      yield text


def _whole_lines(
  path: pathlib.Path, report: base.ReadReport
) -> Iterator[tuple[int, str]]:
  """Lines with their ends, none of which may be too long."""

  def refuse(unused_kind: str, where: str, detail: str) -> None:
    raise InputError(f'{where}: is {detail}; no line of a table may be.')

  return files.read_whole_lines(path, report, keep_ends=True, skip=refuse)


def _below_orange_lines(
  path: pathlib.Path, rows: Iterator[Row], header: list[str], notes: list[str]
) -> Iterator[Row]:
  """Drops the lines of types and flags below the header, if there are any.

  Blank ones below them are dropped as well.
  """
  top = list(itertools.islice(rows, 2))
  types = top[0].cells if top else []
  flags = top[1].cells if len(top) > 1 else ['']
  if not orange.tells_types(header, types):
    return itertools.chain(top, rows)
  if orange.tells_flags(header, types, flags):
    notes.append(f'{path}: lines 2 and 3 tell the types of columns (Orange)')
    return itertools.dropwhile(_is_blank, rows)
  if orange.are_all_types(types):
    raise InputError(
      f"{path}:{top[-1].line}: the line above names types as Orange's tables "
      'do, and this one no flags (class, meta, ignore); mend the header.'
    )
  return itertools.chain(top, rows)


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
  if tsv_quotes.opens_quote(cells[-1]) or tsv_quotes.opens_quote(
    before.cells[-1]
  ):
    return (
      'it seems to be a quoted field with a line break: a .tsv has none; save '
      'it as .csv.'
    )
  if len(cells) > width and any(map(tsv_quotes.opens_quote, cells)):
    return (
      'it seems to be a quoted field with a tab: a .tsv has none; save it as '
      '.csv.'
    )
  if len(cells) > width:
    return 'replace the tabs within a field by spaces.'
  return 'mend it.'


def _columns(count: int) -> str:
  return '1 column' if count == 1 else f'{count} columns'
