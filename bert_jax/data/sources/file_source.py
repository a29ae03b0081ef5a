"""A source of files of one form; each form adds how it is read."""

import copy
import pathlib
from collections.abc import Iterator
from typing import Any

from bert_jax.data.sources import base, files

# Smaller files are read together, as several blocks of documents at least: each
# group ends in a block that is not full, whose rows pack less well.
GROUP_BYTES = 2**25


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
    self._is_group = False

  def documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    found = self._documents(report)
    if self._is_group:
      return base.noted_documents(found, report)
    return base.require_documents(found, files.named(self._paths))

  def groups(self) -> list[base.Group]:
    """Consecutive files of GROUP_BYTES at most, or one that is larger.

    Raises InputError where a file on a disk does not begin as it should: the
    last of ten thousand is refused in seconds, before the first is read.
    """
    self._check_all()
    what = files.named(self._paths)
    return [
      base.Group(self._group(paths), is_anywhere=True, what=what)
      for paths in files.grouped(self._paths, GROUP_BYTES)
    ]

  def _group(self, paths: list[pathlib.Path]) -> 'FileSource':
    group = copy.copy(self)
    group._paths = paths
    group._is_group = True
    return group

  def _check_all(self) -> None:
    """Looks at the beginnings of files, where the form can be seen there."""

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
