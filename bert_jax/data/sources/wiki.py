"""WikiExtractor's output as a source: a document is an article.

Its files are called wiki_00 and so on, and hold

  <doc id="12" url="https://..." title="Anarchism">
  Anarchism

  Anarchism is ...
  </doc>
"""

import pathlib
import re
from collections.abc import Iterator

from bert_jax.data.sources import base, files, first_bytes
from bert_jax.data.sources.file_source import FileSource
from bert_jax.errors import InputError, quoted

_BEGIN = re.compile(r'<doc\s[^>]*\bid="[^>]*\btitle="[^\n]*>\s*')
_END = '</doc>'


class WikiFiles(FileSource):
  """Files of WikiExtractor (.gz, .xz, .zst unpacked), in the order given.

  The title stands in the text, as WikiExtractor writes it. Text that is no
  article is an InputError, as is an article that does not end.

  Args:
    paths: The files.
  """

  name = 'wiki'

  def _documents(self, report: base.ReadReport) -> Iterator[base.Document]:
    for path in first_bytes.checked(self._paths, report, _check):
      lines = files.read_lines(path, report)
      for line, text in lines:
        if _BEGIN.fullmatch(text):
          article = _article(path, line, lines)
          yield from base.bounded_documents(article, str(path), report)
        elif not text.isspace():
          raise InputError(
            f'{path}:{line}: {quoted(text.strip())} is within no <doc id= url= '
            'title=> of WikiExtractor; mend the file, or give it another kind.'
          )

  def _check_all(self) -> None:
    first_bytes.check_all(self._paths, _check)


def _check(path: pathlib.Path, data: bytes) -> None:
  if first_bytes.form_of_content(data) == 'jsonl':
    raise InputError(
      f'{path}: holds JSON lines, as WikiExtractor --json writes them; read it '
      f'as jsonl:{path}.'
    )


def _article(
  path: pathlib.Path, first: int, lines: Iterator[tuple[int, str]]
) -> Iterator[tuple[int, str]]:
  """The lines up to the end of the article that begins at line `first`."""
  for line, text in lines:
    if text.rstrip() == _END:
      return
    if text.startswith('<doc ') and _BEGIN.fullmatch(text):
      break
    yield line, text
  raise InputError(
    f'{path}:{first}: the article that begins here has no {_END}; the file may '
    'be cut off.'
  )
