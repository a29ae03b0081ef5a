"""JSON as a source: an object a line or an array of objects, text in a field.

Whether a file holds lines or one array is seen by its first character, whatever
its ending: `.json` is used for both.
"""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from bert_jax.data.sources import base, files, first_bytes, json_records
from bert_jax.data.sources.file_source import FieldSource
from bert_jax.data.sources.tally import Tally
from bert_jax.errors import InputError, listed, quoted


class JsonLines(FieldSource):
  """JSON files (.gz, .xz and .zst unpacked), read in the order given.

  A record that is no JSON object, has no string in the field or has the field
  twice is counted and skipped. A file where most records are such is an
  InputError, as is one where no record has the field.

  Args:
    paths: The files.
    text_field: The key whose value is the document; 'a.b' for the key 'b' of
      the object in 'a'.
  """

  name = 'jsonl'

  def __init__(self, paths: list[pathlib.Path], *, text_field: str = 'text'):
    super().__init__(paths, text_field=text_field)
    self._field = json_records.Field(text_field)
    self._arrays: set[pathlib.Path] = set()

  def _documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    for path in first_bytes.checked(self._paths, report, self._check):
      yield from self._file_documents(path, report)

  def _file_documents(
    self, path: pathlib.Path, report: base.ReadReport
  ) -> Iterator[base.Document]:
    other_fields: dict[str, None] = {}
    found = False

    def refusal(num_bad: int, num_all: int, first: str) -> InputError:
      if other_fields and not found:
        return self._no_field(path, other_fields)
      return InputError(
        f'{path}: {num_bad:,} of {num_all:,} records are no JSON objects with '
        f'a string in the field {quoted(self._text_field)} (--text_field); the '
        f'first: {first}.'
      )

    tally = Tally(report, refusal)
    for line, record, source in self._values(path, report, tally):
      where = f'{path}:{line}'
      if not isinstance(record, dict):
        why = f'{type(record).__name__}, not an object'
        tally.add_bad('unparsable_lines', where, why)
        continue
      text = self._field.value(record)
      if not isinstance(text, str):
        tally.add_bad('missing_field', where, self._why_no_text(text))
        if text is json_records.MISSING:
          other_fields.update(dict.fromkeys(list(record)[:20]))
      elif self._field.stands_twice(source):
        why = f'the field {quoted(self._text_field)} stands twice'
        tally.add_bad('unparsable_lines', where, why)
      else:
        found = True
        tally.add_good()
        text = _without_surrogates(text, where, report)
        yield from base.bounded_documents([(line, text)], str(path), report)
    if other_fields and not found:
      raise self._no_field(path, other_fields)
    tally.check()

  def _check_all(self) -> None:
    first_bytes.check_all(self._paths, self._check)

  def _check(self, path: pathlib.Path, data: bytes) -> None:
    json_records.check_layout(path, data)
    if json_records.is_array(data):
      self._arrays.add(path)

  def _values(
    self, path: pathlib.Path, report: base.ReadReport, tally: Tally
  ) -> Iterator[tuple[int, Any, str]]:
    """Yields (line, value, its JSON); what is no JSON goes into the tally."""
    if path in self._arrays:
      return json_records.read_values(path, report)
    return _read_lines(path, report, tally)

  def _why_no_text(self, value: object) -> str:
    name = quoted(self._text_field)
    if value is json_records.MISSING:
      return f'no field {name}'
    return f'{name} is {type(value).__name__}, not a string'

  def _no_field(
    self, path: pathlib.Path, other_fields: dict[str, None]
  ) -> InputError:
    return InputError(
      f'{path}: no line has the field {quoted(self._text_field)}; name one '
      f'of these with --text_field: {listed(sorted(other_fields))}.'
    )


def _read_lines(
  path: pathlib.Path, report: base.ReadReport, tally: Tally
) -> Iterator[tuple[int, Any, str]]:
  """Yields (line number, value, its JSON); lines that are none are counted."""
  for line, text in files.read_whole_lines(path, report, skip=tally.add_bad):
    if text.isspace():
      continue
    # Files with byte order marks may have been put together.
    text = text.removeprefix('\ufeff')
    try:
      value = json.loads(text)
    except (ValueError, RecursionError) as error:
      tally.add_bad('unparsable_lines', f'{path}:{line}', str(error))
      continue
    yield line, value, text


def _without_surrogates(text: str, where: str, report: base.ReadReport) -> str:
  """JSON can escape half of a surrogate pair, which is no character."""
  text, count = re.subn('[\ud800-\udfff]', '\ufffd', text)
  if count:
    report.add('lone_surrogates', where, count=count)
  return text
