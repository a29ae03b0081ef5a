"""Lines of a text file that has to be right: every byte is UTF-8 text.

A corpus may hold some damaged bytes; a table may not, as each cell counts.
"""

import io
import pathlib
import re
from collections.abc import Iterator

from bert_jax.data.sources import files
from bert_jax.errors import InputError

# What 'surrogateescape' makes of bytes that are not UTF-8.
_UNDECODABLE = re.compile('[\udc80-\udcff]')
_UTF16_MARKS = ('\udcff\udcfe', '\udcfe\udcff')


def strict_lines(path: pathlib.Path) -> Iterator[tuple[int, str]]:
  """Yields (number from 1, line with its line end) of a file, unpacked.

  A line ends in LF, CRLF or CR, and keeps that end as it is; a byte order mark
  is dropped.

  Raises:
    InputError: A line holds a NUL or a byte that is not UTF-8, or is longer
      than files.MAX_LINE_CHARACTERS; or the file is damaged.
  """
  limit = files.MAX_LINE_CHARACTERS
  with files.open_bytes(path) as file:
    text = io.TextIOWrapper(file, 'utf-8-sig', 'surrogateescape', newline='')
    try:
      number = 1
      while line := text.readline(limit + 1):
        if len(line) > limit:
          raise InputError(
            f'{path}:{number}: is longer than {limit:,} characters; mend it.'
          )
        if '\0' in line or not (line.isascii() or _is_text(line)):
          raise InputError(f'{path}:{number}: {_what_is_wrong(line)}')
        yield number, line
        number += 1
    finally:
      # `file` is closed by its owner.
      text.detach()


def _is_text(line: str) -> bool:
  return _UNDECODABLE.search(line) is None


def _what_is_wrong(line: str) -> str:
  if line.startswith(_UTF16_MARKS):
    return 'is UTF-16; convert the file with iconv -f UTF-16 -t UTF-8.'
  count = len(_UNDECODABLE.findall(line))
  if count:
    return (
      f'{count} bytes that are not UTF-8; convert the file with iconv -t UTF-8.'
    )
  return 'holds a NUL, which is in no text; the file may be damaged or binary.'
