"""Text files as they lie on disk: found by path, unpacked, decoded.

Every reader of text goes through here, so that compression, line numbers and
bytes that are not UTF-8 are treated in one way.
"""

import contextlib
import glob
import gzip
import io
import itertools
import lzma
import os
import pathlib
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from bert_jax.data.sources import content, remote
from bert_jax.data.sources.base import Document, ReadReport, bounded_record
from bert_jax.errors import InputError

COMPRESSED_ENDINGS = ('.gz', '.xz', '.zst')

# A record is parsed as a whole, so a line of it has to fit in memory.
MAX_LINE_CHARACTERS = 2**26

# The longest piece of a line that is held at once.
_PIECE_BYTES = 2**20
_SAMPLE_BYTES = 2**16
# What is unpacked to estimate the size of compressed files.
_FILES_SAMPLED = 8
_PACKED_SAMPLE_BYTES = 2**18
_UNPACKED_SAMPLE_BYTES = 2**24
# What Spark and Arrow put beside the files of a table.
_NOT_DATA = frozenset(('_SUCCESS', '_metadata', '_common_metadata'))
# Half of the bytes of UTF-16 are such for most languages, and none of a text.
_CONTROL = bytes(set(range(32)) - set(b'\t\n\v\f\r\x1b'))
_MAX_BAD_SHARE = 0.3


def find_files(pattern: str) -> list[pathlib.Path]:
  """The files that a path, a folder (recursively) or a glob names, in order.

  Hidden files and folders below a folder are left out. Raises InputError where
  there is no such file. What lies in object storage is an epath.Path.
  """
  if remote.is_remote(pattern):
    return remote.find_files(pattern)
  # Unlike pathlib's, it takes the ~ of an unknown user for a file's name.
  path = pathlib.Path(os.path.expanduser(pattern))
  if path.exists():
    found = [path]
  elif glob.has_magic(pattern):
    found = [
      pathlib.Path(name)
      for name in sorted(glob.glob(str(path), recursive=True))
    ]
    if not found:
      raise InputError(f'{pattern}: no file matches; check the pattern.')
  else:
    raise InputError(f'{pattern}: there is no such file; check the path.')
  files = []
  for item in found:
    files.extend(_files_below(item) if item.is_dir() else [item])
  files = list(dict.fromkeys(files))  # a glob may name a folder and its files
  if not files:
    raise InputError(f'{pattern}: there are no files in it.')
  for file in files:
    if not file.is_file():
      raise InputError(f'{file}: is not a regular file; give one that is.')
    if not os.access(file, os.R_OK):
      raise InputError(f'{file}: may not be read; check its permissions.')
  return files


def text_ending(path: pathlib.Path) -> str:
  """The ending below the compression: '.jsonl' of 'part-1.jsonl.gz'."""
  if path.suffix.lower() in COMPRESSED_ENDINGS:
    path = path.with_suffix('')
  return path.suffix.lower()


def named(files: list[pathlib.Path]) -> str:
  """All of them together within a message."""
  more = f' and {len(files) - 1} more files' if len(files) > 1 else ''
  return f'{files[0]}{more}'


def describe_files(files: list[pathlib.Path]) -> list[dict]:
  """Base names and sizes in bytes, for a manifest.

  `content.Contents` reads the files and adds what they hold.
  """
  return [content.InputFile(f, _size(f)) for f in files]


def uncompressed_size(files: list[pathlib.Path]) -> int:
  """About how many bytes of text the files hold.

  That of compressed ones is estimated from the beginning of a few of them; 0
  (unknown) where these cannot be unpacked, which reading then reports.
  """
  total, packed = 0, []
  for file in files:
    if file.suffix.lower() in COMPRESSED_ENDINGS:
      packed.append(file)
    else:
      total += _size(file)
  if not packed:
    return total
  num_packed, num_unpacked = 0, 0
  for file in packed[:: -(-len(packed) // _FILES_SAMPLED)]:
    counts = _unpack_beginning(file)
    if not counts:
      return 0
    num_packed += counts[0]
    num_unpacked += counts[1]
  in_all = sum(_size(file) for file in packed)
  return total + round(in_all * num_unpacked / max(1, num_packed))


@contextlib.contextmanager
def open_bytes(path: pathlib.Path) -> Iterator[io.BufferedIOBase]:
  """Opens a file for reading, unpacked by its ending.

  Raises InputError, also out of the `with` block, where the file is damaged.
  """
  ending = path.suffix.lower()
  damaged: tuple[type[Exception], ...] = (
    EOFError,
    OSError,
    lzma.LZMAError,
    zlib.error,
  )
  try:
    with contextlib.ExitStack() as stack:
      if remote.is_remote(path):
        stack.enter_context(remote.explained(path))
      file = raw = stack.enter_context(path.open('rb'))
      if ending == '.gz':
        file = stack.enter_context(gzip.open(raw, 'rb'))
      elif ending == '.xz':
        file = stack.enter_context(lzma.open(raw, 'rb'))
      elif ending == '.zst':
        reader, zstd_error = _open_zstandard(path, raw)
        file = stack.enter_context(reader)
        damaged += (zstd_error,)
      yield file
  except InputError:
    raise
  except damaged as error:
    raise InputError(
      f'{path}: cannot be read ({error}); it may be cut off or damaged.'
    ) from error


def read_lines(
  path: pathlib.Path, report: ReadReport
) -> Iterator[tuple[int, str]]:
  """Yields (line number from 1, text with its line break) of a UTF-8 file.

  A line above 1 MiB comes in pieces with one number. Bytes that are not UTF-8
  become U+FFFD and are counted; a file that is mostly such bytes is an
  InputError, as it is in another encoding or no text at all.
  """
  with open_bytes(path) as file:
    line = 1
    while piece := file.readline(_PIECE_BYTES):
      if not piece.endswith(b'\n'):
        piece = _complete_character(piece, file)
      if line == 1:
        piece = piece.removeprefix(b'\xef\xbb\xbf')  # a byte order mark
      text = _decode_reported(piece, f'{path}:{line}', report)
      yield line, text.replace('\r\n', '\n')
      line += piece.endswith(b'\n')


def read_whole_lines(
  path: pathlib.Path, report: ReadReport
) -> Iterator[tuple[int, str]]:
  """Like read_lines, each line in one piece.

  One of more than MAX_LINE_CHARACTERS is skipped, as 'unparsable_lines'.
  """
  by_number = itertools.groupby(read_lines(path, report), lambda part: part[0])
  for number, parts in by_number:
    pieces, size = [], 0
    for _, text in parts:
      size += len(text)
      if size <= MAX_LINE_CHARACTERS:
        pieces.append(text)
    if size <= MAX_LINE_CHARACTERS:
      yield number, ''.join(pieces)
    else:
      detail = f'longer than {MAX_LINE_CHARACTERS:,} characters'
      report.add('unparsable_lines', f'{path}:{number}', detail)


def bounded_bytes(
  data: bytes, origin: str, report: ReadReport
) -> Iterator[Document]:
  """base.bounded_record of UTF-8 that is no file of its own."""
  text = _decode_reported(data, origin, report)
  return bounded_record(text, origin, report)


def check_is_text(path: pathlib.Path) -> None:
  """Raises InputError where a file is not UTF-8 text as a whole."""
  with open_bytes(path) as file:
    sample = file.read(_SAMPLE_BYTES)
  bad = decode(sample)[1] + len(sample) - len(sample.translate(None, _CONTROL))
  # A small file is let through: its few bytes say little, and are counted.
  if len(sample) >= 1024 and bad > _MAX_BAD_SHARE * len(sample):
    raise InputError(
      f'{path}: is not UTF-8 text ({bad / len(sample):.0%} of its first '
      f'{len(sample):,} bytes); convert it with iconv, or leave it out.'
    )


def decode(data: bytes) -> tuple[str, int]:
  """UTF-8 text, and how many bytes were not UTF-8 (each one U+FFFD)."""
  try:
    return data.decode('utf-8'), 0
  except UnicodeDecodeError:
    text = data.decode('utf-8', 'surrogateescape')
    return re.subn('[\udc80-\udcff]', '\ufffd', text)


def _decode_reported(data: bytes, where: str, report: ReadReport) -> str:
  text, num_undecodable = decode(data)
  if num_undecodable:
    detail = f'{num_undecodable} bytes that are not UTF-8'
    report.add('undecodable_bytes', where, detail, num_undecodable)
  return text


def _size(path: pathlib.Path) -> int:
  return path.stat().length if remote.is_remote(path) else path.stat().st_size


def _unpack_beginning(path: pathlib.Path) -> tuple[int, int] | None:
  """Bytes of a compressed file, and what they became; None if damaged."""
  num_packed = num_unpacked = 0
  # Zstandard gives a block once all of it is there, so what lies after the last
  # block that came out does not count.
  counts = (0, 0)
  make, failure = _decompressor(path)
  frame = None
  try:
    with path.open('rb') as file:
      while packed := file.read(2**12):
        num_packed += len(packed)
        while packed:
          frame = frame or make()
          unpacked = frame.decompress(packed)
          packed = frame.unused_data if frame.eof else b''
          frame = None if frame.eof else frame
          num_unpacked += len(unpacked)
          if unpacked:
            counts = num_packed, num_unpacked
        if counts[1] and (
          num_packed >= _PACKED_SAMPLE_BYTES
          or num_unpacked >= _UNPACKED_SAMPLE_BYTES
        ):
          break
  except (EOFError, OSError, failure):
    return None
  return counts


def _decompressor(
  path: pathlib.Path,
) -> tuple[Callable[[], Any], type[Exception]]:
  """What makes the decompressor of one frame, and what that raises."""
  ending = path.suffix.lower()
  if ending == '.gz':
    return lambda: zlib.decompressobj(wbits=31), zlib.error
  if ending == '.xz':
    return lzma.LZMADecompressor, lzma.LZMAError
  zstandard = _import_zstandard(path)
  return zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError


def _files_below(folder: pathlib.Path) -> list[pathlib.Path]:
  files = []
  for root, folders, names in os.walk(folder):
    folders[:] = [name for name in folders if not name.startswith('.')]
    files.extend(
      pathlib.Path(root, name)
      for name in names
      if not name.startswith('.') and name not in _NOT_DATA
    )
  return sorted(files)


def _complete_character(piece: bytes, file: io.BufferedIOBase) -> bytes:
  """Reads on where a piece of a long line ends within a character."""
  for _ in range(3):
    try:
      piece.decode('utf-8')
    except UnicodeDecodeError as error:
      if error.reason != 'unexpected end of data':
        break
      piece += file.read(1)
    else:
      break
  return piece


def _open_zstandard(path: pathlib.Path, raw: io.BufferedIOBase):
  """An unpacked file, and the exception that it raises on damaged data."""
  zstandard = _import_zstandard(path)
  return io.BufferedReader(_ZstandardReader(raw)), zstandard.ZstdError


def _import_zstandard(path: pathlib.Path):
  try:
    import zstandard
  except ImportError as error:
    raise InputError(
      f'{path}: reading .zst needs a package: pip install zstandard'
    ) from error
  return zstandard


class _ZstandardReader(io.RawIOBase):
  """Reads all frames of a file, and notices where the last one is cut off.

  zstandard's own reader does neither by default: it stops after one frame, and
  takes the end of a truncated file for the end of the data.
  """

  def __init__(self, raw: io.BufferedIOBase):
    import zstandard

    self._file = raw
    self._decompressor = zstandard.ZstdDecompressor()
    self._frame = None
    self._packed = b''
    self._unpacked = memoryview(b'')

  def readable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    while not self._unpacked:
      if not self._packed:
        self._packed = self._file.read(2**14)
        if not self._packed:
          if self._frame is not None:
            raise EOFError('the last frame is not complete')
          return 0
      if self._frame is None:
        self._frame = self._decompressor.decompressobj()
      self._unpacked = memoryview(self._frame.decompress(self._packed))
      self._packed = self._frame.unused_data if self._frame.eof else b''
      if self._frame.eof:
        self._frame = None
    count = min(len(buffer), len(self._unpacked))
    buffer[:count] = self._unpacked[:count]
    self._unpacked = self._unpacked[count:]
    return count
