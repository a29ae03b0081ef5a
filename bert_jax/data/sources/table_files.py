"""Tables of text as a source: a document is one column's value of a row."""

import pathlib
from collections.abc import Iterator

from bert_jax.data.sources import base, delimited, files, first_bytes
from bert_jax.errors import InputError, listed, quoted


class TableFiles:
  """CSV, TSV or .tab files, read in the order given, one column of each.

  Args:
    paths: The files, each with a header.
    kind: One of delimited.DELIMITERS, whose rules are read_rows's.
    text_field: The column whose values are the documents.
  """

  def __init__(
    self, paths: list[pathlib.Path], *, kind: str, text_field: str = 'text'
  ):
    self.name = kind
    self._paths = paths
    self._text_field = text_field

  def documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    what = files.named(self._paths)
    return base.require_documents(self._documents(report), what)

  def describe(self) -> dict:
    return {
      'kind': self.name,
      'text_field': self._text_field,
      'files': files.describe_files(self._paths),
    }

  def size_in_bytes(self) -> int:
    """Of all columns; which share of it is the text is not known."""
    return files.uncompressed_size(self._paths)

  def _documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    for path in first_bytes.checked(self._paths, report):
      for origin, values in delimited.read_rows(path, self.name, report):
        if self._text_field not in values:
          raise InputError(
            f'{path}: has no column {quoted(self._text_field)}; name one of '
            f'these with --text_field: {listed(list(values))} (the first line '
            'must be the header).'
          )
        text = files.with_line_feeds(values[self._text_field])
        yield from base.bounded_record(text, origin, report)
