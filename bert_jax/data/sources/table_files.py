"""Tables of text as a source: a document is one column's value of a row."""

import pathlib
from collections.abc import Iterator, Sequence

from bert_jax.data.sources import (
  base,
  column_names,
  delimited,
  files,
  first_bytes,
)
from bert_jax.data.sources.file_source import FieldSource
from bert_jax.errors import InputError, listed, quoted


class TableFiles(FieldSource):
  """CSV, TSV or .tab files, read in the order given, one column of each.

  Args:
    paths: The files, each with a header.
    kind: One of delimited.DIALECTS.
    text_field: The column whose values are the documents.
  """

  def __init__(
    self, paths: list[pathlib.Path], *, kind: str, text_field: str = 'text'
  ):
    super().__init__(paths, text_field=text_field)
    self.name = kind

  def _documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    for path in first_bytes.checked(self._paths, report):
      dialect = delimited.DIALECTS[self.name]
      if self.name == 'csv':
        dialect = delimited.csv_dialect(path, self._is_header, report.notes)
      rows = delimited.read_rows(path, dialect, report)
      if header := next(rows, None):
        place = self._place(path, header, report)
        for line, cells in rows:
          text = files.with_line_feeds(cells[place])
          yield from base.bounded_record(text, f'{path}:{line}', report)

  def _check_all(self) -> None:
    first_bytes.check_all(self._paths)

  def _is_header(self, cells: Sequence[str]) -> bool:
    return self._text_field in cells

  def _place(
    self, path: pathlib.Path, header: delimited.Row, report: base.ReadReport
  ) -> int:
    names = header.cells
    column_names.check(f'{path}:{header.line}', names, notes=report.notes)
    if self._text_field not in names:
      raise InputError(
        f'{path}: has no column {quoted(self._text_field)}; name one of these '
        f'with --text_field: {listed(names)} (the first line must be the '
        f'header){column_names.why_missing(self._text_field, names)}.'
      )
    return names.index(self._text_field)
