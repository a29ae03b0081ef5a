"""A source of files of one form; each form adds how it is read."""

import pathlib
from collections.abc import Iterator
from typing import Any

from bert_jax.data.sources import base, files


class FileSource:
  """Reads files in the order given; see base.Source for its methods.

  A form is a subclass with a `name` and `_documents`.

  Args:
    paths: The files.
    **described: Options of the reading, which describe() gives.
  """

  name: str

  def __init__(self, paths: list[pathlib.Path], **described: Any):
    self._paths = paths
    self._described = described

  def documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    what = files.named(self._paths)
    return base.require_documents(self._documents(report), what)

  def describe(self) -> dict:
    return {
      'kind': self.name,
      **self._described,
      'files': files.describe_files(self._paths),
    }

  def size_in_bytes(self) -> int:
    return files.uncompressed_size(self._paths)

  def _documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    raise NotImplementedError


class FieldSource(FileSource):
  """Reads files of records, of which one field or column is the documents.

  Args:
    paths: The files.
    text_field: The name of the field or column.
  """

  def __init__(self, paths: list[pathlib.Path], *, text_field: str = 'text'):
    super().__init__(paths, text_field=text_field)
    self._text_field = text_field
