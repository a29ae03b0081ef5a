"""CSV, TSV and Orange's .tab files as rows of named values, read strictly.

A table that is not what it seems (a row of another width, two columns of one
name, a quote that is not closed) is refused with its line: values that slide
into the next column look like any others.
"""

import csv
import itertools
import pathlib
import re
import sys
from collections.abc import Iterator

from bert_jax.data.sources import base, files
from bert_jax.errors import InputError, listed, quoted

DELIMITERS = {'csv': ',', 'tsv': '\t', 'tab': '\t'}

# The second of the three header lines of Orange's: a type for each column, or
# the values of a discrete one.
_ORANGE_KEYWORD = re.compile('d|discrete|c|continuous|s|string|t|time|basket')
_ORANGE_TYPE = re.compile(rf'{_ORANGE_KEYWORD.pattern}|\S+(?: \S+)+|')
# The third: flags such as 'class', and attributes such as 'a=b'.
_ORANGE_FLAGS = re.compile(
  r'(?:(?:class|c|meta|m|ignore|i|weight|w|instance_id|multiclass|[^\s=]+=\S*)'
  r'(?:\s+|$))*'
)
_ROWS_BETWEEN_CHECKS = 256
_MAX_QUOTED_SHARE = 0.01


def read_rows(
  path: pathlib.Path, kind: str, report: base.ReadReport
) -> Iterator[tuple[str, dict[str, str]]]:
  """Yields ('path:line', {column: value}) of each row behind the header.

  Blank lines are no rows.

  Args:
    path: The file (.gz, .xz and .zst unpacked).
    kind: 'csv' (RFC 4180: a quoted value may hold commas and line breaks, "" is
      a quote in it), 'tsv' (as GLUE has it: a quote is an ordinary character)
      or 'tab' (a TSV, with three header lines if it is Orange's).
    report: Receives 'undecodable_bytes'.

  Raises:
    InputError: The table is not well-formed, a row has another width than the
      header, or two columns have one name.
  """
  if kind == 'csv':
    rows = _quoted_rows(path, report)
  else:
    rows = _plain_rows(path, report)
  header: list[str] = []
  for line, row in rows:
    if row:
      header = _checked_header(path, line, row, kind)
      if kind == 'tab':
        rows = _without_orange_lines(path, rows, header)
      break
  for line, row in rows:
    if not row:
      continue
    if len(row) != len(header):
      raise InputError(
        f'{path}:{line}: has {len(row)} columns, and the header has '
        f'{len(header)} ({listed(header)}); mend the line.'
      )
    yield f'{path}:{line}', dict(zip(header, row, strict=True))


# With the line where each begins; a blank line is [].
_Rows = Iterator[tuple[int, list[str]]]


def _quoted_rows(path: pathlib.Path, report: base.ReadReport) -> _Rows:
  # Its default of 131,072 characters is less than some documents have.
  csv.field_size_limit(sys.maxsize)
  lines = _RecordLines(path, report)
  reader = csv.reader(lines, strict=True)
  try:
    for row in reader:
      yield lines.first, row
      lines.first = 0
  except csv.Error as error:
    why = str(error)
    if why == 'unexpected end of data':
      why = 'a quote that opens in this row is never closed'
    raise InputError(
      f'{path}:{max(1, lines.first)}: is not well-formed CSV ({why}); mend it.'
    ) from error


class _RecordLines:
  """The lines of a file for csv.reader, and where its current record began.

  Attributes:
    first: The line; 0 makes the next one the first of a record.
  """

  def __init__(self, path: pathlib.Path, report: base.ReadReport):
    self.first = 0
    self._path = path
    self._lines = _whole_lines(path, report, keep_ends=True)
    self._size = 0

  def __iter__(self) -> Iterator[str]:
    for line, text in self._lines:
      if not self.first:
        self.first, self._size = line, 0
      self._size += len(text)
      # A quote that is never closed would take the rest of the file.
      if self._size > files.MAX_LINE_CHARACTERS:
        raise InputError(
          f'{self._path}:{self.first}: a record that begins here is longer '
          f'than {files.MAX_LINE_CHARACTERS:,} characters; close its quote.'
        )
      yield text


def _plain_rows(path: pathlib.Path, report: base.ReadReport) -> _Rows:
  num_rows = num_quoted = 0
  first = 0
  for line, text in _whole_lines(path, report, keep_ends=False):
    text = text.removesuffix('\n')
    row = text.split('\t') if text else []
    num_rows += 1
    if '""' in text and any(map(_is_quoted, row)):
      num_quoted += 1
      first = first or line
    if num_rows % _ROWS_BETWEEN_CHECKS == 0:
      _check_quoted(path, num_quoted, num_rows, first)
    yield line, row
  _check_quoted(path, num_quoted, num_rows, first)


def _is_quoted(value: str) -> bool:
  """Whether a value is quoted as in CSV, with quotes in it that are doubled."""
  inner = value[1:-1]
  if len(value) < 4 or value[0] != '"' or value[-1] != '"':
    return False
  return '""' in inner and '"' not in inner.replace('""', '')


def _check_quoted(
  path: pathlib.Path, num_quoted: int, num_rows: int, first: int
) -> None:
  if num_quoted > _MAX_QUOTED_SHARE * num_rows:
    raise InputError(
      f'{path}:{first}: {num_quoted:,} of {num_rows:,} rows have values that '
      'are quoted as in CSV, which a TSV is not; write the table as .csv.'
    )


def _whole_lines(
  path: pathlib.Path, report: base.ReadReport, *, keep_ends: bool
) -> Iterator[tuple[int, str]]:
  """Lines as files.read_lines has them, each in one piece."""
  pieces, size = [], 0
  for number, text in files.read_lines(path, report, keep_ends=keep_ends):
    is_whole = text.endswith(('\n', '\r'))
    if is_whole and not size:
      yield number, text
      continue
    size += len(text)
    pieces.append(text)
    if size > files.MAX_LINE_CHARACTERS:
      raise InputError(
        f'{path}:{number}: is longer than {files.MAX_LINE_CHARACTERS:,} '
        'characters; no line of a table may be.'
      )
    if is_whole:
      yield number, ''.join(pieces)
      pieces, size = [], 0
  if size:
    yield number, ''.join(pieces)


def _checked_header(
  path: pathlib.Path, line: int, row: list[str], kind: str
) -> list[str]:
  where = f'{path}:{line}'
  for name in row:
    if row.count(name) > 1:
      raise InputError(
        f'{where}: the header has {row.count(name)} columns that are called '
        f'{quoted(name)}; rename them, or add a header if that is no header.'
      )
  delimiter = DELIMITERS[kind]
  others = [c for c in ',;\t|' if c != delimiter and c in row[0]]
  if len(row) == 1 and others:
    raise InputError(
      f'{where}: the header is one column, {quoted(row[0])}; the columns of '
      f'this table must be separated by {delimiter!r}, not {others[0]!r}.'
    )
  return row


def _without_orange_lines(
  path: pathlib.Path, rows: _Rows, header: list[str]
) -> _Rows:
  """Drops the lines of types and flags below the header, if there are any."""
  first = list(itertools.islice(rows, 2))
  types = first[0][1] if first else []
  flags = first[1][1] if len(first) > 1 else ['']
  # Where the values of a column are listed, a row could look like types.
  num_types = sum(bool(_ORANGE_KEYWORD.fullmatch(value)) for value in types)
  are_all_types = num_types == len([value for value in types if value])
  if (
    not num_types
    or len(types) != len(header)
    or not all(map(_ORANGE_TYPE.fullmatch, types))
  ):
    return itertools.chain(first, rows)
  if len(flags) == len(header) and all(map(_ORANGE_FLAGS.fullmatch, flags)):
    return rows
  if not flags and are_all_types:
    return rows
  if are_all_types:
    raise InputError(
      f"{path}:{first[-1][0]}: the line above names types as Orange's tables "
      'do, and this one no flags (class, meta, ignore); mend the header.'
    )
  return itertools.chain(first, rows)
