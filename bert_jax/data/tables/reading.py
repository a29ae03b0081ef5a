"""Reads a labelled table, whatever form its file has."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bert_jax.data.sources import delimited, files, first_bytes, tsv_quotes
from bert_jax.data.tables import header, json_records, parquet_rows, squad
from bert_jax.data.tables.strict_lines import StrictReport
from bert_jax.data.tables.table import Table
from bert_jax.errors import InputError, quoted

# The forms in words, for --help and messages.
FORMS = (
  '.tsv, .csv, .tab, .jsonl, .ndjson, .json (each also .gz, .xz, .zst) or '
  '.parquet'
)

_JSON_LINES = ('.jsonl', '.ndjson')


def read_table(
  path: str | os.PathLike[str],
  columns: Mapping[str, str],
  *,
  optional: Sequence[str] = (),
  header_setting: str = '',
  flags: str = '--config.task.',
) -> Table:
  """Reads columns of all records of a file; an error leaves none out.

  The arguments are those of `read_pieces`, which says what is read.
  """
  (table,) = read_pieces(
    path,
    columns,
    optional=optional,
    header_setting=header_setting,
    flags=flags,
  )
  return table


def read_pieces(
  path: str | os.PathLike[str],
  columns: Mapping[str, str],
  *,
  optional: Sequence[str] = (),
  header_setting: str = '',
  flags: str = '--config.task.',
  size: int = 0,
) -> Iterator[Table]:
  """Yields the records of a file in pieces of `size`, one piece or more.

  What is noted of the file as a whole stands in the last piece.

  `.csv`: fields may stand in quotes, which may hold commas and line breaks;
  semicolons or tabs where these give the columns asked for and commas do not.
  `.tsv`, `.tab`: a quote is an ordinary character, as in GLUE; the three header
  lines of Orange are known. `.jsonl`, `.ndjson`: an object a line, or one array
  of them. `.json`: those, over any lines; or SQuAD's articles, where a record
  is a question. `.parquet`. Each also compressed (.gz, .xz, .zst).
  All rows of a .csv or .tsv have one width; blank lines, but for rows of one
  column, may stand at the end alone.

  Args:
    path: The file.
    columns: Names of the header or keys, each with the flag that gives it.
      Where all are numbers ('0', '1'), a .csv or .tsv has no header.
    optional: More columns, of which the first that is there is read.
    header_setting: 'yes' or 'no' where the columns do not tell whether the
      first line is a header.
    flags: The beginning of all these flags, for messages.
    size: Records of a piece, which are all that is in memory (of JSON's arrays
      and of SQuAD's files the whole is); 0: all.

  Raises:
    InputError: The file, a column or a value is missing, a name is there twice,
      a row has another width, or a line cannot be read.
  """
  path = pathlib.Path(os.path.expanduser(os.fspath(path)))
  check_file(path)
  wanted = _Wanted(columns, optional, header_setting, flags, size)
  ending = files.text_ending(path)
  if ending in ('.csv', '.tsv', '.tab', '.json', *_JSON_LINES):
    _check_text(path)
  if ending[1:] in delimited.DIALECTS:
    return _delimited_pieces(path, ending[1:], wanted)
  if header_setting and ending in (*_JSON_LINES, '.json', '.parquet'):
    raise InputError(
      f'{flags}header={header_setting}: {path} has its names in every record; '
      'leave it out'
    )
  if ending in (*_JSON_LINES, '.json'):
    records = json_records.read_records(path, in_lines=ending != '.json')
    return _json_pieces(path, records, wanted)
  if ending == '.parquet':
    return _parquet_pieces(path, wanted)
  raise InputError(
    f'{path}: its ending says no format; name or save it as {FORMS}.'
  )


def has_records(path: str | os.PathLike[str]) -> bool:
  """Returns whether a file, by its name, has values with types."""
  ending = files.text_ending(pathlib.Path(path))
  return ending in (*_JSON_LINES, '.json', '.parquet')


def check_file(path: pathlib.Path) -> None:
  """Raises InputError where there is no file."""
  if path.is_dir():
    raise InputError(f'{path}: is a folder; name the file in it.')
  if not path.is_file():
    if path.exists() or path == pathlib.Path('-'):
      raise InputError(
        f'{path}: is a stream and no file; save it under a name whose ending '
        'says its format.'
      )
    raise InputError(f'{path}: there is no such file; check the path.')


def _check_text(path: pathlib.Path) -> None:
  """Raises InputError where a file begins as something else than text."""
  data = first_bytes.read_beginning(path)
  found = first_bytes.signature(data)
  if found and found.what in ('Parquet', 'Arrow'):
    raise InputError(
      f'{path}: is {found.what}, no table of text; '
      + ('name it .parquet.' if found.what == 'Parquet' else 'save it as one.')
    )
  first_bytes.check_known(path, data)


@dataclasses.dataclass(frozen=True)
class _Wanted:
  """The columns that are asked of a table; see read_pieces."""

  columns: Mapping[str, str]
  optional: Sequence[str]
  header: str
  flags: str
  size: int

  def is_full(self, table: Table) -> bool:
    """Returns whether a table has the records of a piece."""
    return 0 < self.size <= len(table.origins)


def _delimited_pieces(
  path: pathlib.Path, kind: str, wanted: _Wanted
) -> Iterator[Table]:
  notes: list[str] = []
  names = list(wanted.columns)
  named = header.has_header(names, wanted.header, wanted.flags)

  def has_columns(cells: Sequence[str]) -> bool:
    if header.by_number(names):
      return max(map(int, names)) < len(cells)
    return set(names) <= set(cells)

  dialect = delimited.DIALECTS[kind]
  if kind == 'csv':
    dialect = delimited.csv_dialect(path, has_columns, notes)
  rows = delimited.read_rows(
    path, dialect, StrictReport(), each_line=True, named=named, notes=notes
  )
  first = next(rows, None)
  if first is None:
    yield Table(columns={name: [] for name in names})
    return
  places = header.find_places(
    path,
    first.cells,
    wanted.columns,
    wanted.optional,
    named,
    wanted.flags,
    # Whoever says that there is a header knows its first line.
    notes if wanted.header == 'yes' else None,
  )
  table = _empty(places)
  quotes = None if dialect.quoting else _Quotes()
  if not named:
    rows = itertools.chain([first], rows)
    table.may_be_header = not wanted.header
    if table.may_be_header:
      header.refuse_numbered_header(f'{path}:1', first.cells, wanted.flags)
  for row in rows:
    if wanted.is_full(table):
      yield table
      table = _empty(places)
    for name, place in places.items():
      table.columns[name].append(row.cells[place])
      if quotes:
        quotes.count(name, row.cells[place])
    table.lines.append(row.line)
    table.origins.append(f'{path}:{row.line}')
  table.notes = notes
  if quotes:
    notes += quotes.notes(path, len(first.cells))
  yield table


def _empty(names: Iterable[str]) -> Table:
  return Table(columns={name: [] for name in names})


class _Quotes:
  """Counts what looks as if a .csv had been given the name of a .tsv."""

  def __init__(self):
    self._counts: dict[str, list[int]] = {}

  def count(self, column: str, cell: str) -> None:
    """Counts a cell: all of them, in quotes, with doubled ones, left open."""
    counts = self._counts.setdefault(column, [0, 0, 0, 0])
    counts[0] += 1
    if '"' in cell:
      is_quoted = tsv_quotes.is_quoted(cell)
      counts[1] += is_quoted
      counts[2] += is_quoted and '""' in cell[1:-1]
      counts[3] += tsv_quotes.opens_quote(cell)

  def notes(self, path: pathlib.Path, width: int) -> list[str]:
    """Lines on a file whose rows have `width` cells."""
    found = []
    for name, counts in self._counts.items():
      num_cells, num_quoted, num_doubled, num_open = counts
      if num_doubled or (num_quoted == num_cells > 1):
        found.append(
          f'{path}: {num_quoted:,} of {num_cells:,} values of column '
          f'{quoted(name)} stand in quotes, which a .tsv keeps as text; if '
          'they only enclose it, save the file as .csv'
        )
      # In a table of one column, no width shows that a field takes two lines.
      if width == 1 and num_open:
        found.append(
          f'{path}: {num_open:,} lines begin with a quote that is not closed; '
          'each line is an example, since a .tsv has no fields of several lines'
        )
    return found


def _json_pieces(
  path: pathlib.Path,
  records: Iterator[tuple[int, json_records.Record]],
  wanted: _Wanted,
) -> Iterator[Table]:
  names = [name for name in wanted.optional if name not in wanted.columns]
  table, num_records = _empty([*wanted.columns, *names]), 0
  for line, origin, record in _placed(path, records):
    if wanted.is_full(table):
      yield _with_first_optional(table, names, wanted.size)
      table = _empty([*wanted.columns, *names])
    for name, flag in wanted.columns.items():
      if name not in record:
        is_alone = not num_records and next(records, None) is None
        raise json_records.missing_key(
          origin, name, record, wanted.flags + flag, is_alone=is_alone
        )
      table.columns[name].append(record[name])
    for name in names:
      table.columns[name].append(record.get(name))
    if line:
      table.lines.append(line)
    table.origins.append(origin)
    num_records += 1
  yield _with_first_optional(table, names, wanted.size)


def _with_first_optional(
  table: Table, names: Sequence[str], size: int
) -> Table:
  """Drops the optional columns but the first that has a value.

  In a piece, the only one that is asked for may have its values elsewhere.
  """
  kept = [
    name
    for name in names
    if any(value is not None for value in table.columns[name])
  ][:1] or (names if size and len(names) == 1 else [])
  for name in set(names) - {*kept}:
    del table.columns[name]
  return table


def _placed(
  path: pathlib.Path, records: Iterator[tuple[int, json_records.Record]]
) -> Iterator[tuple[int, str, json_records.Record]]:
  """Yields (line, origin, record); the line is 0 of a question of SQuAD."""
  before = 0
  for number, (line, record) in enumerate(records, 1):
    if squad.is_document(record):
      for place, question in squad.questions(record, str(path)):
        yield 0, place, question
      continue
    # An array may stand in one line.
    more = f' (record {number})' if line == before else ''
    yield line, f'{path}:{line}{more}', record
    before = line


def _parquet_pieces(path: pathlib.Path, wanted: _Wanted) -> Iterator[Table]:
  there = parquet_rows.column_names(path)
  for name, flag in wanted.columns.items():
    if name not in there:
      raise header.missing_column(path, name, there, wanted.flags + flag)
  more = [name for name in wanted.optional if name in there][:1]
  names = list(dict.fromkeys([*wanted.columns, *more]))
  table = _empty(names)
  for number, values in parquet_rows.rows(path, names):
    if wanted.is_full(table):
      yield table
      table = _empty(names)
    for name, value in zip(names, values, strict=True):
      table.columns[name].append(value)
    table.origins.append(f'{path}:row {number}')
  yield table
