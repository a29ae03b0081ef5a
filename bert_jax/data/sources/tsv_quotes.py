"""Quotes in a .tsv: characters of its text, unless they look like a CSV."""

import pathlib

from bert_jax.errors import InputError

_ROWS_BETWEEN_CHECKS = 256
_MAX_QUOTED_SHARE = 0.01


class Quotes:
  """Rows of a .tsv whose quotes are those of CSV, and the refusal of many.

  A writer of CSV leaves no quote outside of such a field. Where other quotes
  are as frequent, they are characters of the text.

  Args:
    path: For the message.
  """

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._num_rows = self._num_quoted = self._num_others = self._first = 0

  def add(self, number: int, text: str, cells: list[str]) -> None:
    """Counts the row of line `number`, which is `text` before it was split."""
    self._num_rows += 1
    if (place := text.find('"')) >= 0:
      # The first test is the quick one.
      if (place and text[place - 1] != '\t') or not all(
        is_quoted(cell) for cell in cells if '"' in cell
      ):
        self._num_others += 1
      elif any(is_quoted(cell) and '""' in cell[1:-1] for cell in cells):
        self._num_quoted += 1
        self._first = self._first or number
    if self._num_rows % _ROWS_BETWEEN_CHECKS == 0:
      self.check()

  def check(self) -> None:
    """Raises InputError if the table seems to be a CSV; also for the end."""
    if (
      self._num_quoted > _MAX_QUOTED_SHARE * self._num_rows
      and self._num_quoted > self._num_others
    ):
      raise InputError(
        f'{self._path}:{self._first}: {self._num_quoted:,} of '
        f'{self._num_rows:,} rows have values that are quoted as in CSV, which '
        'a TSV is not; give the file the ending .csv.'
      )


def opens_quote(cell: str) -> bool:
  """Returns whether a cell of a .tsv looks like the start of a quoted field."""
  return cell.startswith('"') and cell.count('"') % 2 == 1


def is_quoted(cell: str) -> bool:
  """Returns whether a cell is quoted as a .csv quotes a text."""
  return (
    len(cell) > 1
    and cell[0] == cell[-1] == '"'
    and '"' not in cell[1:-1].replace('""', '')
  )
