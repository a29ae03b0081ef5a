"""Plain text files as a source: a document is a file, a line or a paragraph."""

import pathlib
from collections.abc import Iterator

from bert_jax.data.sources import base, files, first_bytes
from bert_jax.data.sources.file_source import FileSource
from bert_jax.errors import InputError

DOCUMENT_UNITS = ('file', 'line', 'paragraph')


class TextFiles(FileSource):
  """Text files (.gz, .xz and .zst unpacked), read in the order given.

  Args:
    paths: The files.
    document: 'file', 'line', or 'paragraph' (split at blank lines).
    is_stated: The user said that they are plain text, so that what begins as
      JSON lines or HTML is read as it stands.
  """

  name = 'text_files'

  def __init__(
    self,
    paths: list[pathlib.Path],
    *,
    document: str = 'file',
    is_stated: bool = False,
  ):
    if document not in DOCUMENT_UNITS:
      raise InputError(
        f'--document={document}: is none of {", ".join(DOCUMENT_UNITS)}.'
      )
    super().__init__(paths, document=document)
    self._document = document
    self._is_stated = is_stated

  def _documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    # An empty file is an empty document where a file is a document.
    empty = None if self._document == 'file' else report
    for path in first_bytes.checked(self._paths, empty, self._check):
      lines = files.read_lines(path, report)
      if self._document == 'file':
        units = iter([lines])
      elif self._document == 'line':
        units = _lines(lines)
      else:
        units = _paragraphs(lines)
      for unit in units:
        yield from base.bounded_documents(unit, str(path), report)

  def _check_all(self) -> None:
    first_bytes.check_all(self._paths, self._check)

  def _check(self, path: pathlib.Path, data: bytes) -> None:
    if not self._is_stated:
      first_bytes.check_plain(path, data)


_Parts = Iterator[tuple[int, str]]


def _lines(parts: _Parts) -> Iterator[_Parts]:
  """Groups the pieces of each line; each group is read before the next."""
  for line, text in parts:
    yield _until_line_end(line, text, parts)


def _until_line_end(line: int, text: str, parts: _Parts) -> _Parts:
  yield line, text
  while not text.endswith('\n'):
    line, text = next(parts, (line, '\n'))
    yield line, text


def _paragraphs(parts: _Parts) -> Iterator[_Parts]:
  """Groups the lines between blank lines, like _lines."""
  for line, text in parts:
    if not text.isspace():
      yield _until_blank_line(line, text, parts)


def _until_blank_line(line: int, text: str, parts: _Parts) -> _Parts:
  at_line_start = True
  while text and not (at_line_start and text.isspace()):
    yield line, text
    at_line_start = text.endswith('\n')
    line, text = next(parts, (line, ''))
