"""JSON records: a field of an object, and an array that is read in parts.

json.loads would hold an array of 100 GB whole; here its elements are decoded
one after the other.
"""

import json
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from bert_jax.data.sources import base, files, first_bytes
from bert_jax.errors import InputError

MISSING = object()

_SPACE = re.compile(r'[ \t\r\n]*')
# The text that is read on before an incomplete element is tried again.
_STEP_CHARACTERS = 2**16


class Field:
  """A field of JSON objects: 'a.b' is that name, or else 'b' within 'a'."""

  def __init__(self, name: str):
    self._name = name
    self._parts = name.split('.')
    # The name in JSON, with and without escapes.
    keys = (name, *self._parts)
    self._keys = {json.dumps(key) for key in keys}
    self._keys |= {json.dumps(key, ensure_ascii=False) for key in keys}

  def value(self, record: dict) -> Any:
    """The value in an object, MISSING where there is none."""
    value = record.get(self._name, MISSING)
    if value is not MISSING or len(self._parts) == 1:
      return value
    value = record
    for part in self._parts:
      value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
    return value

  def stands_twice(self, source: str) -> bool:
    """Returns whether the JSON of an object has the field more than once.

    json takes the last of two values, other readers take the first.
    """
    # A quotation mark within a string has a backslash before it, so that this
    # is seldom met but in keys.
    for key in self._keys:
      if source.count(key) > 1:
        return self._is_repeated(source)
    return False

  def _is_repeated(self, source: str) -> bool:
    pairs = json.loads(source, object_pairs_hook=_Pairs)
    if any(key == self._name for key, _ in pairs):
      return pairs.count_key(self._name) > 1
    for part in self._parts:
      if pairs.count_key(part) > 1:
        return True
      pairs = dict(pairs).get(part)
      if not isinstance(pairs, _Pairs):
        return False
    return False


class _Pairs(list):
  """The keys and values of a JSON object, as they stand there."""

  def count_key(self, name: str) -> int:
    return sum(key == name for key, _ in self)


def check_layout(path: pathlib.Path, data: bytes) -> None:
  """Raises InputError where a file begins with an object over several lines."""
  first, line_break, rest = data.lstrip().partition(b'\n')
  if not first.startswith(b'{') or not line_break or not rest.strip():
    return
  first = first.strip()
  try:
    json.loads(first)
  except json.JSONDecodeError as error:
    # An error at the end of the line: an object that goes on, indented.
    if error.pos >= len(first.decode('utf-8', 'replace')):
      raise InputError(
        f'{path}: holds JSON objects over several lines, not one object a '
        'line or an array of objects; write its records as JSON lines '
        '(jq -c).'
      ) from None
  except (ValueError, RecursionError):
    return


def is_no_data(path: pathlib.Path, text_field: str) -> bool:
  """Returns whether a .json file is one value, and no record with the field.

  Descriptions and settings that lie beside data are such files.
  """
  data = first_bytes.read_beginning(path).lstrip()
  # A file that is no text is refused when it is read, by what it is.
  if not data or first_bytes.signature(data):
    return False
  if is_array(data):
    return not data[1:].lstrip().startswith(b'{')
  if first_bytes.form_of_content(data) != 'jsonl':
    return True
  lines = [line for line in data.split(b'\n') if line.strip()]
  if len(lines) > 1 or first_bytes.is_full_sample(data):
    return False
  return not isinstance(Field(text_field).value(json.loads(lines[0])), str)


def is_array(data: bytes) -> bool:
  """Returns whether a file that begins with `data` holds a JSON array."""
  return data.lstrip().startswith(b'[')


class RepeatedKey(ValueError):
  """An object has a key twice; for a `make_object` to raise."""


def read_values(
  path: pathlib.Path,
  report: base.ReadReport,
  make_object: Callable[[list[tuple[str, Any]]], dict] | None = None,
) -> Iterator[tuple[int, Any, str]]:
  """Yields (line number, value, its JSON) of the elements of a JSON array.

  A file without an array gives the values that follow each other in it, however
  they are broken into lines.

  Args:
    path: The file.
    report: Receives findings, as in files.read_lines.
    make_object: The object_pairs_hook of json.

  Raises:
    InputError: The JSON is not well-formed, or something follows the array.
      All that was yielded before is right.
  """
  text = _Text(path, report, make_object)
  if text.next() != '[':
    while text.next():
      yield text.element()
    return
  text.skip('[')
  if text.next() == ']':
    text.skip(']')
  else:
    while True:
      yield text.element()
      if text.next() != ',':
        break
      text.skip(',')
    text.skip(']')
  if text.next():
    raise text.error('something follows the array')


class _Text:
  """The text of a file from the current place on, read as it is needed."""

  def __init__(
    self,
    path: pathlib.Path,
    report: base.ReadReport,
    make_object: Callable[[list[tuple[str, Any]]], dict] | None,
  ):
    self._path = path
    self._pieces = files.read_lines(path, report)
    self._text = ''
    self._place = 0
    self._line = 1
    self._decode = json.JSONDecoder(object_pairs_hook=make_object).raw_decode

  def next(self) -> str:
    """The next character that is no white space; '' at the end."""
    while True:
      space = _SPACE.match(self._text, self._place)
      assert space is not None  # it matches nothing as well
      end = space.end()
      self._move(end)
      if end < len(self._text):
        return self._text[end]
      if not self._read(_STEP_CHARACTERS):
        return ''

  def skip(self, character: str) -> None:
    """Moves behind the next character, which has to be this one."""
    found = self.next()
    if not found:
      raise self.error('it ends within the array')
    if found != character:
      raise self.error(f'{character!r} is expected, not {found!r}')
    self._move(self._place + 1)

  def element(self) -> tuple[int, Any, str]:
    """The (line number, value, JSON) of the next value."""
    self.next()
    step = _STEP_CHARACTERS
    while True:
      try:
        value, end = self._decode(self._text, self._place)
        # A number may go on in what is not read yet.
        if end < len(self._text) or not self._read(step):
          break
      except RepeatedKey as error:
        raise InputError(
          f'{self._path}:{self._line}: {error}; leave one of them.'
        ) from None
      except RecursionError:
        raise self.error('it is nested too deeply') from None
      except ValueError as error:
        if len(self._text) - self._place > files.MAX_LINE_CHARACTERS:
          raise self.error(
            'an element is not well-formed, or longer than '
            f'{files.MAX_LINE_CHARACTERS:,} characters'
          ) from None
        if not self._read(step):
          raise self.error(str(error)) from None
      step = max(step, len(self._text) - self._place)
    line, source = self._line, self._text[self._place : end]
    self._move(end)
    return line, value, source

  def error(self, why: str) -> InputError:
    return InputError(
      f'{self._path}:{self._line}: is no well-formed JSON array or row of '
      f'objects ({why}); mend it, or write its objects as JSON lines.'
    )

  def _move(self, end: int) -> None:
    self._line += self._text.count('\n', self._place, end)
    self._place = end

  def _read(self, step: int) -> bool:
    """Adds `step` characters or more; False at the end of the file."""
    pieces, size = [], 0
    for _, piece in self._pieces:
      pieces.append(piece)
      size += len(piece)
      if size >= step:
        break
    if pieces:
      self._text = self._text[self._place :] + ''.join(pieces)
      self._place = 0
    return bool(pieces)
