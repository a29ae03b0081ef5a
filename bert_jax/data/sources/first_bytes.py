"""The form of a file by its first bytes, whatever it is called.

A renamed archive, a pointer of git-lfs and a saved web page all have an ending
that promises text.
"""

import json
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bert_jax.data.remote import storage
from bert_jax.data.sources import base, encoding, files
from bert_jax.errors import InputError

SAMPLE_BYTES = 2**16

PARQUET_MAGIC = b'PAR1'
ARROW_FILE_MAGIC = b'ARROW1\0\0'
ARROW_STREAM_MAGIC = b'\xff\xff\xff\xff'

_UNPACK = 'give it the ending {ending}, or unpack it'
_EXTRACT = 'extract its text first'


class Signature(NamedTuple):
  """The form that first bytes show, and a remedy for its user.

  Attributes:
    what: The form, such as 'gzip data'.
    remedy: The end of a message that begins 'it is {what}; '.
    is_pointer: Whether the file only names the data that should be here.
  """

  what: str
  remedy: str
  is_pointer: bool = False


_SIGNATURES = (
  (0, b'\x1f\x8b', 'gzip data', _UNPACK.format(ending='.gz')),
  (0, b'\xfd7zXZ\0', 'xz data', _UNPACK.format(ending='.xz')),
  (0, b'\x28\xb5\x2f\xfd', 'Zstandard data', _UNPACK.format(ending='.zst')),
  (0, b'\x04\x22\x4d\x18', 'lz4 data', 'unpack it'),
  (0, b'PK\x03\x04', 'a zip archive or an office file', 'unpack it'),
  (0, b'7z\xbc\xaf\x27\x1c', 'a 7z archive', 'unpack it'),
  (0, b'Rar!\x1a\x07', 'a rar archive', 'unpack it'),
  (257, b'ustar', 'a tar archive', 'unpack it'),
  (0, PARQUET_MAGIC, 'Parquet', 'read it as parquet:PATH'),
  (0, ARROW_FILE_MAGIC, 'Arrow', 'read it as arrow:PATH'),
  (0, ARROW_STREAM_MAGIC, 'Arrow', 'read it as arrow:PATH'),
  (0, b'%PDF-', 'a PDF file', _EXTRACT),
  (0, b'{\\rtf', 'an RTF file', _EXTRACT),
  (0, b'\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', 'an office file', _EXTRACT),
  (0, b'SQLite format 3\0', 'an SQLite data base', 'export a table as .csv'),
)
_BZIP2 = re.compile(rb'BZh[1-9]1AY&SY')
_WIKI = re.compile(rb'\s*<doc\s[^>\n]*\bid="[^>\n]*\btitle="')
_MARKUP = (
  (re.compile(rb'\s*(?:<!doctype\s+html|<html\b)', re.IGNORECASE), 'HTML'),
  (re.compile(rb'\s*<\?xml\s'), 'XML'),
)
_BYTE_ORDER_MARK = b'\xef\xbb\xbf'


def read_beginning(path: pathlib.Path, size: int = SAMPLE_BYTES) -> bytes:
  """The first unpacked bytes, without a byte order mark of UTF-8.

  Raises InputError where the file cannot be read or unpacked.
  """
  with files.open_bytes(path) as file:
    return file.read(size).removeprefix(_BYTE_ORDER_MARK)


def is_full_sample(data: bytes) -> bool:
  """Returns whether the file may go on behind what read_beginning() gave."""
  return len(data) >= SAMPLE_BYTES - len(_BYTE_ORDER_MARK)


def signature(data: bytes) -> Signature | None:
  """The binary form or pointer that begins with `data`; None for a text."""
  for offset, magic, what, remedy in _SIGNATURES:
    if data.startswith(magic, offset):
      return Signature(what, remedy)
  if _BZIP2.match(data):
    return Signature('bzip2 data', 'unpack it')
  for magic, tool, command in files.POINTERS:
    if data.startswith(magic):
      what = f'a pointer of {tool}, not the file itself'
      return Signature(what, f'fetch it: {command}', is_pointer=True)
  return None


def remedy(found: Signature, path: pathlib.Path) -> str:
  """Advice on a file of that signature, for a message."""
  return found.remedy.replace('PATH', str(path))


def check_text(path: pathlib.Path, data: bytes) -> None:
  """Raises InputError where a file that begins with `data` is no UTF-8 text."""
  check_known(path, data)
  encoding.check_encoding(data, path)


def check_known(path: pathlib.Path, data: bytes) -> None:
  """Raises InputError where `data` tells another form or encoding than text."""
  if found := signature(data):
    raise InputError(
      f'{path}: is {found.what}, no text; {remedy(found, path)}.'
    )
  encoding.check_marks(data, path)


def checked(
  paths: list[pathlib.Path],
  report: base.ReadReport | None,
  check: Callable[[pathlib.Path, bytes], None] | None = None,
) -> Iterator[pathlib.Path]:
  """Yields the files, each once it is seen to begin as text.

  The files on a disk are looked at before the first is yielded, so that the
  last of ten thousand is refused in seconds and not after hours.

  Args:
    paths: The files.
    report: Receives 'empty_files', which are not yielded; None yields them.
    check: Raises InputError for what a file begins with, besides check_text().
  """

  def is_empty(path: pathlib.Path) -> bool:
    data = read_beginning(path)
    check_text(path, data)
    if check:
      check(path, data)
    return not data

  empty = {p for p in paths if not storage.is_remote(p) and is_empty(p)}
  for path in paths:
    if storage.is_remote(path) and is_empty(path):
      empty.add(path)
    if report is not None and path in empty:
      report.add('empty_files', str(path))
    else:
      yield path


def check_all(
  paths: list[pathlib.Path],
  check: Callable[[pathlib.Path, bytes], None] | None = None,
) -> None:
  """Raises InputError where a file on a disk does not begin as text.

  `check` is as in checked().
  """
  on_disk = [path for path in paths if not storage.is_remote(path)]
  for _ in checked(on_disk, None, check):
    pass


def check_plain(path: pathlib.Path, data: bytes) -> None:
  """Raises InputError where text that is called plain has another form."""
  what, way_out = '', _EXTRACT
  if form := form_of_content(data):
    what = {'jsonl': 'JSON lines', 'wiki': "WikiExtractor's output"}[form]
    way_out = f'read it as {form}:{path}'
  for pattern, name in _MARKUP:
    if pattern.match(data):
      what = name
  if what:
    raise InputError(
      f'{path}: begins as {what}; {way_out}, or write text:{path} to read it '
      'as it stands.'
    )


def form_of_content(data: bytes) -> str:
  """'wiki' or 'jsonl' where the beginning of a file shows it, else ''."""
  if _WIKI.match(data):
    return 'wiki'
  lines = data.split(b'\n')
  if is_full_sample(data) and len(lines) > 1:
    lines.pop()  # it may be cut off
  first = [line for line in lines if line.strip()][:3]
  return 'jsonl' if first and all(map(_is_object, first)) else ''


def foreign(path: pathlib.Path, form: str, error: InputError) -> InputError:
  """The refusal of a file as `form`: by its first bytes if these say more."""
  try:
    with path.open('rb') as file:
      found = signature(file.read(SAMPLE_BYTES))
  except OSError:
    return error
  if not found or found.what == form:
    return error
  return InputError(
    f'{path}: is {found.what}, not {form}; {remedy(found, path)}.'
  )


def _is_object(line: bytes) -> bool:
  # A line longer than the sample cannot be parsed; its first key is enough.
  if is_full_sample(line):
    return bool(re.match(rb'\{\s*"(?:[^"\\]|\\.)*"\s*:', line))
  try:
    return line.lstrip().startswith(b'{') and isinstance(json.loads(line), dict)
  except (ValueError, RecursionError):
    return False
