"""JSON Lines as a source: one object a line, a document in one field of it."""

import json
import pathlib
import re
from collections.abc import Iterator

from bert_jax.data.sources import base, files
from bert_jax.errors import InputError, listed, quoted


class JsonLines:
  """JSONL files (.gz, .xz and .zst unpacked), read in the order given.

  A line that is no JSON object, or has no string in the field, is counted and
  skipped; a file where no line has the field is an InputError.

  Args:
    paths: The files.
    text_field: The key whose value is the document.
  """

  name = 'jsonl'

  def __init__(self, paths: list[pathlib.Path], *, text_field: str = 'text'):
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
    return files.uncompressed_size(self._paths)

  def _documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    for path in self._paths:
      files.check_is_text(path)
      yield from self._file_documents(path, report)

  def _file_documents(
    self, path: pathlib.Path, report: base.ReadReport
  ) -> Iterator[base.Document]:
    name = quoted(self._text_field)
    other_fields: dict[str, None] = {}
    found = False
    for line, record in read_objects(path, report):
      where = f'{path}:{line}'
      text = record.get(self._text_field)
      if isinstance(text, str):
        found = True
        text = _without_surrogates(text, where, report)
        yield from base.bounded_documents([(line, text)], str(path), report)
        continue
      if self._text_field in record:
        detail = f'{name} is {type(text).__name__}, not a string'
      else:
        detail = f'no field {name}'
        other_fields.update(dict.fromkeys(list(record)[:20]))
      report.add('missing_field', where, detail)
    if other_fields and not found:
      raise InputError(
        f'{path}: no line has the field {name}; name one '
        f'of these with --text_field: {listed(sorted(other_fields))}.'
      )


def read_objects(
  path: pathlib.Path, report: base.ReadReport
) -> Iterator[tuple[int, dict]]:
  """Yields (line number, object); counts the lines that are none."""
  for line, text in files.read_whole_lines(path, report):
    if text.isspace():
      continue
    try:
      record = json.loads(text)
    except (ValueError, RecursionError) as error:
      report.add('unparsable_lines', f'{path}:{line}', str(error))
      continue
    if isinstance(record, dict):
      yield line, record
    else:
      detail = f'a {type(record).__name__}, not an object'
      report.add('unparsable_lines', f'{path}:{line}', detail)


def _without_surrogates(text: str, where: str, report: base.ReadReport) -> str:
  """JSON can escape half of a surrogate pair, which is no character."""
  text, count = re.subn('[\ud800-\udfff]', '\ufffd', text)
  if count:
    report.add('lone_surrogates', where, count=count)
  return text
