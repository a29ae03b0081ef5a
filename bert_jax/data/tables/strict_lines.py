"""Lines of a text file that has to be right: every byte is UTF-8 text.

A corpus may hold some damaged bytes; a table may not, as each cell counts.
"""

import pathlib
from collections.abc import Iterator

from bert_jax.data.sources import base, files
from bert_jax.errors import InputError


class StrictReport(base.ReadReport):
  """Takes what a reader of corpora counts, and refuses the file for it."""

  def add(
    self, kind: str, where: str, detail: str = '', count: int = 1
  ) -> None:
    fix = 'mend it'
    if kind == 'undecodable_bytes':
      fix = 'convert the file with iconv -f latin1 -t UTF-8'
    raise InputError(f'{where}: {detail}; {fix}.')


def strict_lines(path: pathlib.Path) -> Iterator[tuple[int, str]]:
  """Yields (number from 1, line with its line end) of a file, unpacked.

  A line ends in LF, CRLF or CR, and keeps that end as it is; a byte order mark
  is dropped.

  Raises:
    InputError: A line holds a NUL or a byte that is not UTF-8, or is longer
      than files.MAX_LINE_CHARACTERS; or the file is damaged.
  """
  return files.read_whole_lines(path, StrictReport(), keep_ends=True)
