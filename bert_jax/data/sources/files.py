"""Text files as they lie on disk: unpacked, decoded, cut into lines.

Every reader of text goes through here, so that compression, line numbers and
bytes that are not UTF-8 are treated in one way.
"""

import contextlib
import gzip
import io
import lzma
import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from bert_jax.data.remote import storage
from bert_jax.data.sources import content, encoding
from bert_jax.data.sources.base import Document, ReadReport, bounded_record
from bert_jax.errors import InputError

COMPRESSED_ENDINGS = ('.gz', '.xz', '.zst')

# A record is parsed as a whole, so a line of it has to fit in memory.
MAX_LINE_CHARACTERS = 2**26

_MAGICS = {
  '.gz': b'\x1f\x8b',
  '.xz': b'\xfd7zXZ\0',
  '.zst': b'\x28\xb5\x2f\xfd',
}
# The first bytes of a file that was not fetched, the tool that left it, and
# the command that fetches it.
POINTERS = (
  (b'version https://git-lfs.github.com/spec/', 'git-lfs', 'git lfs pull'),
  (b'/annex/objects/', 'git-annex', 'git annex get'),
)
_POINTER_BYTES = 64
# The longest piece of a line that is held at once.
_PIECE_BYTES = 2**20
# Files and bytes that are unpacked to estimate the size of compressed files.
_FILES_SAMPLED = 8
_PACKED_SAMPLE_BYTES = 2**18
_UNPACKED_SAMPLE_BYTES = 2**24


def text_ending(path: pathlib.Path) -> str:
  """The ending below the compression: '.jsonl' of 'part-1.jsonl.gz'."""
  if path.suffix.lower() in COMPRESSED_ENDINGS:
    path = path.with_suffix('')
  return path.suffix.lower()


def named(files: list[pathlib.Path]) -> str:
  """Names all of the files in one phrase for a message."""
  more = f' and {len(files) - 1} more files' if len(files) > 1 else ''
  return f'{files[0]}{more}'


def describe_files(files: list[pathlib.Path]) -> list[dict]:
  """Base names and sizes in bytes, for a manifest.

  `content.Contents` reads the files and adds what they hold.
  """
  return [content.InputFile(f, _size(f)) for f in files]


def total_size(files: list[pathlib.Path]) -> int:
  """Bytes of the files as they lie there, in object storage too."""
  return sum(map(_size, files))


def grouped(
  files: list[pathlib.Path], max_bytes: int
) -> Iterator[list[pathlib.Path]]:
  """Consecutive files of `max_bytes` at most together, or a larger one."""
  group: list[pathlib.Path] = []
  num_bytes = 0
  for file in files:
    size = _size(file)
    if group and num_bytes + size > max_bytes:
      yield group
      group, num_bytes = [], 0
    group.append(file)
    num_bytes += size
  yield group


def uncompressed_size(files: list[pathlib.Path]) -> int:
  """The bytes of text in the files, about.

  Compressed files are estimated from the beginning of a few of them. The result
  is 0 (unknown) where these cannot be unpacked, which reading then reports.
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
      if storage.is_remote(path):
        stack.enter_context(storage.explained(path))
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
      f'{path}: cannot be read ({error}); {_damage(path)}.'
    ) from error


def read_lines(
  path: pathlib.Path, report: ReadReport, *, keep_ends: bool = False
) -> Iterator[tuple[int, str]]:
  r"""Yields (line number from 1, text with its line break) of a UTF-8 file.

  A line ends in LF, CR LF or CR; a line above 1 MiB comes in pieces with one
  number. Bytes that are not UTF-8 become U+FFFD and are counted.

  Args:
    path: The file.
    report: Receives 'undecodable_bytes'.
    keep_ends: Leaves line breaks as they are; without it each is a LF.

  Raises:
    InputError: The file is in another encoding, or holds a NUL byte.
  """
  counts = encoding.ByteCounts(path)
  line = 1
  with open_bytes(path) as file:
    for chunk in _chunks(file):
      text, num_bad = encoding.decode(chunk)
      counts.add(chunk, text, num_bad)
      if b'\0' in chunk:
        before = with_line_feeds(text[: text.index('\0')])
        line += before.count('\n')
        raise encoding.nul_error(f'{path}:{line}')
      if num_bad:
        _report_undecodable(chunk, path, line, report)
      for piece in _split_lines(text, keep_ends):
        yield line, piece
        line += piece.endswith(('\n', '\r'))
    counts.check()


def read_whole_lines(
  path: pathlib.Path,
  report: ReadReport,
  *,
  keep_ends: bool = False,
  skip: Callable[[str, str, str], None] | None = None,
) -> Iterator[tuple[int, str]]:
  """Reads lines as read_lines does, each in one piece.

  A line of more than MAX_LINE_CHARACTERS is skipped, as 'unparsable_lines'.

  Args:
    path: The file.
    report: Receives findings, as in read_lines.
    keep_ends: Keeps the ends of lines, as in read_lines.
    skip: Called for a skipped line as report.add; None calls that.
  """
  skip = skip or report.add
  pieces, size = [], 0
  for number, text in read_lines(path, report, keep_ends=keep_ends):
    is_whole = text.endswith(('\n', '\r'))
    if is_whole and not size:
      yield number, text
      continue
    if size <= MAX_LINE_CHARACTERS < size + len(text):
      pieces.clear()
      detail = f'longer than {MAX_LINE_CHARACTERS:,} characters'
      skip('unparsable_lines', f'{path}:{number}', detail)
    size += len(text)
    if size <= MAX_LINE_CHARACTERS:
      pieces.append(text)
    if is_whole:
      if pieces:
        yield number, ''.join(pieces)
      pieces, size = [], 0
  if pieces:
    yield number, ''.join(pieces)


def with_line_feeds(text: str) -> str:
  """The text with LF for each CR LF and CR."""
  return text.replace('\r\n', '\n').replace('\r', '\n')


def bounded_bytes(
  data: bytes, origin: str, report: ReadReport
) -> Iterator[Document]:
  """base.bounded_record of UTF-8 that is no file of its own."""
  text = _decode_reported(data, origin, report)
  return bounded_record(text, origin, report)


def _damage(path: pathlib.Path) -> str:
  """A guess at what is wrong with a file that cannot be unpacked."""
  ending = path.suffix.lower()
  try:
    with path.open('rb') as file:
      data = file.read(_POINTER_BYTES)
  except OSError:
    return 'it may be cut off or damaged'
  for magic, tool, command in POINTERS:
    if data.startswith(magic):
      return f'it is a pointer of {tool}, not the file itself: {command}'
  if data.startswith(_MAGICS.get(ending, b'')):
    return 'it may be cut off or damaged'
  return f'it does not begin as {ending} does, so it may need another ending'


def _decode_reported(data: bytes, where: str, report: ReadReport) -> str:
  text, num_undecodable = encoding.decode(data)
  if num_undecodable:
    detail = f'{num_undecodable} bytes that are not UTF-8'
    report.add('undecodable_bytes', where, detail, num_undecodable)
  return text


def _report_undecodable(
  chunk: bytes, path: pathlib.Path, line: int, report: ReadReport
) -> None:
  lines = chunk.replace(b'\r\n', b'\n').replace(b'\r', b'\n').split(b'\n')
  for number, text in enumerate(lines, line):
    _decode_reported(text, f'{path}:{number}', report)


def _chunks(file: io.BufferedIOBase) -> Iterator[bytes]:
  """The bytes of a file: whole lines, or a piece of one that is long."""
  is_first = True
  while chunk := file.read(_PIECE_BYTES):
    if not chunk.endswith(b'\n'):
      chunk += file.readline(_PIECE_BYTES)
    if not chunk.endswith(b'\n'):
      chunk = _complete_character(chunk, file)
    while chunk.endswith(b'\r') and (after := file.read(1)):
      # Read on: this may be a CR, or the half of a CR LF.
      chunk = _complete_character(chunk + after, file)
    if is_first:
      chunk = chunk.removeprefix(b'\xef\xbb\xbf')  # a byte order mark
      is_first = False
    yield chunk


def _split_lines(text: str, keep_ends: bool) -> list[str]:
  """Lines with their ends; unlike splitlines(), at CR and LF alone."""
  if '\r' not in text:
    lines = text.split('\n')
    last = lines.pop()
    return [f'{line}\n' for line in lines] + ([last] if last else [])
  return list(io.StringIO(text, newline='' if keep_ends else None))


def _size(path: pathlib.Path) -> int:
  status: Any = path.stat()  # etils has a status of its own for gs://
  return status.length if storage.is_remote(path) else status.st_size


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
  """Returns the maker of a decompressor for one frame, and its exception."""
  ending = path.suffix.lower()
  if ending == '.gz':
    return lambda: zlib.decompressobj(wbits=31), zlib.error
  if ending == '.xz':
    return lzma.LZMADecompressor, lzma.LZMAError
  zstandard = _import_zstandard(path)
  return zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError


def _complete_character(chunk: bytes, file: io.BufferedIOBase) -> bytes:
  """Reads on where a piece of a long line ends within a character."""
  while encoding.num_cut_off(chunk) and (after := file.read(1)):
    chunk += after
  return chunk


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
