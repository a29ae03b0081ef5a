"""Columns of a table by name or number, and headers that are none or unseen.

Names are those of the first line. Where all columns are numbers from 0, a file
has no header; a first line that looks like one all the same is refused, since
it would be read as an example.
"""

import pathlib
from collections.abc import Mapping, Sequence

from bert_jax.data.sources import column_names
from bert_jax.errors import InputError, listed, quoted

# Values of `header`: whether the first line of a .csv or .tsv names columns. ''
# decides by the columns that are asked for: numbers mean that it does not.
HEADERS = ('', 'yes', 'no')

# Usual names of columns in this field, in small letters.
_TEXT_NAMES = frozenset(
  'text texts sentence sentence1 sentence2 sentence_a sentence_b premise '
  'hypothesis question question1 question2 query passage document content '
  'review reviewtext comment tweet title headline body utterance'.split()
)
_LABEL_NAMES = frozenset(
  'label labels gold_label label_id class classes category categories target '
  'sentiment polarity intent rating stars score scores quality topic '
  'entailment_judgment is_duplicate emotion'.split()
)


def by_number(columns: Sequence[str]) -> bool:
  """Returns whether all columns are numbers: the file has no header."""
  # A longer one is the number of no column, and too long for int().
  return all(
    name.isascii() and name.isdecimal() and len(name) < 10 for name in columns
  )


def has_header(columns: Sequence[str], header: str, flags: str) -> bool:
  """Returns whether the first line names the columns; see HEADERS.

  Raises:
    InputError: header='no' and a column that is no number; '' and numbers among
      names; or none of HEADERS.
  """
  if header not in HEADERS:
    raise InputError(
      f'{flags}header is {quoted(header)}; give yes or no, or leave it out'
    )
  numbers = [name for name in columns if by_number([name])]
  named = [name for name in columns if name not in numbers]
  if header == 'no' and named:
    raise InputError(
      f'{flags}header=no, and the column {quoted(named[0])} is no number; '
      'without a header columns go by number from 0'
    )
  if not header and numbers and named:
    raise InputError(
      f'the column {quoted(named[0])} is a name and {quoted(numbers[0])} a '
      f'number; give {flags}header=yes if the first line names the columns, or '
      'all of them by number from 0 if not'
    )
  return header == 'yes' or not numbers


def find_places(
  path: pathlib.Path,
  first: Sequence[str],
  columns: Mapping[str, str],
  optional: Sequence[str],
  named: bool,
  flags: str,
  notes: list[str] | None = None,
) -> dict[str, int]:
  """The place of each column, and of the first optional one that is there.

  Args:
    path: The file, for messages.
    first: The cells of the first line.
    columns: Names or numbers, each with the flag that gives it.
    optional: Names of columns that may be there.
    named: The first line is a header.
    flags: The beginning of the flags, for messages.
    notes: A list that receives a line where the first column has no name, as in
      the files of SWAG; None: that is an error too.

  Raises:
    InputError: A column is not there, or a number is the name of another; or
      columns go by name, and the header has a name twice or an empty one.
  """
  places = {}
  for column, flag in columns.items():
    if named and column in first:
      places[column] = first.index(column)
    elif by_number([column]):
      places[column] = int(column)
    else:
      raise missing_column(path, column, first, flags + flag)
    place = places[column]
    if by_number([column]) and place != int(column):
      raise InputError(
        f'{path}:1: column {place} (from 0) is called {quoted(column)}; rename '
        'it.'
      )
    if place >= len(first):
      raise InputError(
        f'{path}:1: has {len(first)} columns, and column {place} (from 0) is '
        f'asked for; in the first line there are {listed(first)}.'
      )
  if not by_number(list(columns)):
    way_out = f', or give columns by number with {flags}header=yes'
    column_names.check(f'{path}:1', first, notes=notes, way_out=way_out)
  if named:
    more = [name for name in optional if first.count(name) == 1][:1]
    places |= {name: first.index(name) for name in more}
  return places


def missing_column(
  path: pathlib.Path | str, column: str, names: Sequence[str], flag: str
) -> InputError:
  """The error for a header without a column; it shows the whole line."""
  why = column_names.why_missing(column, names)
  return InputError(
    f'{path}: there is no column {quoted(column)}; there are {listed(names)}'
    f'{why}; name one with {flag}, or by number from 0 if the file has no '
    'header.'
  )


def refuse_named_row(
  origin: str, texts: Sequence[str], label: str | None, flags: str
) -> None:
  """Raises InputError where the first example has the names of columns.

  Args:
    origin: 'path:1'.
    texts: The texts of the example.
    label: Its label; None where none is read.
    flags: The beginning of the flags, for the message.
  """
  if any(column_names.bare(text) in _TEXT_NAMES for text in texts):
    raise _seems_header(origin, f'the text is {listed(texts)}', flags)
  if label is not None and column_names.bare(label) in _LABEL_NAMES:
    raise _seems_header(origin, f'the label is {quoted(label)}', flags)


def refuse_lone_first_label(
  origin: str, labels: Sequence[str], flags: str
) -> None:
  """Raises InputError where only the first example has its label.

  That is an error where other labels recur, or all others are numbers. A class
  of one example may stand in the first line of a file without a header, so the
  message says how to go on then.

  Args:
    origin: 'path:1'.
    labels: The labels of all examples.
    flags: The beginning of the flags, for the message.
  """
  first, rest = labels[0], labels[1:]
  if first in rest:
    return
  if len(set(rest)) < len(rest):
    why = f'its label {quoted(first)} is in no other line'
  elif rest and all(map(_is_float, rest)) and not _is_float(first):
    why = f'its label {quoted(first)} is no number, and all others are'
  else:
    return
  raise _seems_header(origin, why, flags)


def refuse_numbered_header(
  origin: str, first: Sequence[str], flags: str
) -> None:
  """Raises InputError where the first line is 0, 1, ..., as pandas has it."""
  numbers = [str(place) for place in range(len(first))]
  if list(first) == numbers:
    why = f'pandas numbers columns so: {listed(first)}'
    raise _seems_header(origin, why, flags)
  if len(first) > 1 and list(first) == ['', *numbers[:-1]]:
    raise InputError(
      f'{origin}: is a header in which pandas numbers columns '
      f'({listed(first)}), below row numbers; name them and leave these out: '
      'to_csv(..., header=["text", "label"], index=False).'
    )


def _seems_header(origin: str, why: str, flags: str) -> InputError:
  return InputError(
    f'{origin}: seems to be a header ({why}), and columns by number are read '
    f'without one; give {flags}header=yes to pass over it, or {flags}header=no '
    'if it is an example.'
  )


def _is_float(text: str) -> bool:
  try:
    float(text)
  except ValueError:
    return False
  return True
