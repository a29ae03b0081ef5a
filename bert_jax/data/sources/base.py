"""Documents, the sources that yield them, and the report on what was read.

A corpus source and whatever consumes it agree on these types alone.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from bert_jax.errors import InputError

# A longer document is cut into consecutive ones as it is read, so that one
# 100 GB file without a line break costs no more memory than a short one.
MAX_DOCUMENT_CHARACTERS = 2**20

EXAMPLES_PER_KIND = 5


class Document(NamedTuple):
  """One text of a corpus, and where it began ('path:line') for messages."""

  text: str
  origin: str


class ReadReport:
  """Findings of reading besides good text: how often, and the first places.

  The kinds that the sources use: 'undecodable_bytes' (each one became U+FFFD),
  'lone_surrogates' (likewise), 'unparsable_lines' and 'missing_field' (the line
  or row was skipped), 'empty_documents' (skipped), 'split_documents' (documents
  above MAX_DOCUMENT_CHARACTERS, cut in pieces: nothing is lost),
  'empty_files' (skipped), 'missing_packages' and 'unparsable_files' (of the
  installed documentation, skipped).

  Attributes:
    counts: How often each kind was met.
    examples: The first few 'path:line: why' of each kind.
    notes: Lines on the files that were chosen. They are printed and are no
      part of an output, since what lies beside an input changes none.
    has_documents: Of a group: whether it held a document.
  """

  def __init__(self):
    self.counts: dict[str, int] = {}
    self.examples: dict[str, list[str]] = {}
    self.notes: list[str] = []
    self.has_documents = False

  def add(
    self, kind: str, where: str, detail: str = '', count: int = 1
  ) -> None:
    """Counts `count` more of `kind`; `where` is 'path:line'."""
    self.counts[kind] = self.counts.get(kind, 0) + count
    examples = self.examples.setdefault(kind, [])
    if len(examples) < EXAMPLES_PER_KIND:
      examples.append(f'{where}: {detail}' if detail else where)

  def merge(self, later: 'ReadReport') -> None:
    """Adds the report on what was read after all that is in this one."""
    for kind, count in later.counts.items():
      self.counts[kind] = self.counts.get(kind, 0) + count
    for kind, places in later.examples.items():
      examples = self.examples.setdefault(kind, [])
      examples += places[: EXAMPLES_PER_KIND - len(examples)]
    self.notes += later.notes
    self.has_documents |= later.has_documents

  def lines(self) -> list[str]:
    """The report as lines to print, the kinds in alphabetical order."""
    lines = list(self.notes)
    for kind in sorted(self.counts):
      lines.append(f'{kind.replace("_", " ")}: {self.counts[kind]:,}')
      lines.extend(f'  {example}' for example in self.examples[kind])
    return lines


class Source(Protocol):
  """A source of documents: always the same ones, in the same order."""

  name: str  # 'installed_docs', 'text_files', 'parquet', ...: never a path

  def documents(self, report: ReadReport) -> Iterator[Document]:
    """Yields the documents. Raises InputError where there are none."""
    ...

  def describe(self) -> dict:
    """Describes what was read, for the manifest: no folders and no dates.

    JSON, in which files are entries of `content`, to be read when an output is
    compared with what it would be made of now.
    """
    ...

  def size_in_bytes(self) -> int:
    """About how many bytes of text there are; 0 where it is not known."""
    ...


class Group(NamedTuple):
  """A share of a source that one process reads, from its beginning to its end.

  source: Yields the documents of the group.
  is_anywhere: Whether any process that unpickles it reads the same, as of
    files; else the one that opened it has to.
  what: Names the files that must hold a document together, for require_text();
    '' where the source sees to it.
  """

  source: Source
  is_anywhere: bool = False
  what: str = ''


def groups(source: Source) -> list[Group]:
  """The groups whose documents, in order, are those of the source.

  They depend on the names and sizes of files alone. A source that defines no
  method `groups`, as one of the user's, is one group.
  """
  # Looked up in the class: an object may pass unknown names on to another.
  if hasattr(type(source), 'groups'):
    return source.groups()  # type: ignore[attr-defined]
  return [Group(source)]


class JoinedSource:
  """Several sources, one after the other."""

  def __init__(self, sources: Iterable[Source]):
    self._sources = tuple(sources)
    self.name = '+'.join(source.name for source in self._sources)

  def documents(self, report: ReadReport) -> Iterator[Document]:
    for source in self._sources:
      yield from source.documents(report)

  def groups(self) -> list[Group]:
    return [group for source in self._sources for group in groups(source)]

  def describe(self) -> dict:
    return {
      'kind': 'joined',
      'sources': [source.describe() for source in self._sources],
    }

  def size_in_bytes(self) -> int:
    sizes = [source.size_in_bytes() for source in self._sources]
    return sum(sizes) if all(sizes) else 0


def bounded_documents(
  parts: Iterable[tuple[int, str]], path: str, report: ReadReport
) -> Iterator[Document]:
  """Joins the parts of one document, and cuts it where it grows too long.

  Args:
    parts: (line number, text) pairs whose concatenation is the document.
    path: The file, for the origins.
    report: Receives 'split_documents' and 'empty_documents'.

  Yields:
    The document, or its consecutive pieces of at most MAX_DOCUMENT_CHARACTERS,
    cut at whitespace where there is any. White space at both ends is dropped.
  """
  return _bounded(parts, lambda line: f'{path}:{line}', report)


def bounded_record(
  text: str, origin: str, report: ReadReport
) -> Iterator[Document]:
  """bounded_documents for a text that is no lines of a file: one origin."""
  # Cut into parts, so that a text of a gigabyte is copied once.
  step = MAX_DOCUMENT_CHARACTERS
  starts = range(0, len(text), step)
  parts = ((1, text[start : start + step]) for start in starts)
  return _bounded(parts, lambda unused_line: origin, report)


def _bounded(
  parts: Iterable[tuple[int, str]],
  where: Callable[[int], str],
  report: ReadReport,
) -> Iterator[Document]:
  buffer, size, first_line, origin, was_cut = [], 0, 0, where(1), False
  for line, text in parts:
    if not buffer:
      first_line = line
      origin = where(line)
    buffer.append(text)
    size += len(text)
    while size > MAX_DOCUMENT_CHARACTERS:
      joined = ''.join(buffer)
      cut = _whitespace_before(joined, MAX_DOCUMENT_CHARACTERS)
      if head := joined[:cut].strip():
        yield Document(head, origin)
        if not was_cut:
          report.add('split_documents', origin)
          was_cut = True
      first_line += joined.count('\n', 0, cut)
      origin = where(first_line)
      buffer = [joined[cut:]]
      size = len(joined) - cut
  if rest := ''.join(buffer).strip():
    yield Document(rest, origin)
  elif not was_cut:
    report.add('empty_documents', origin)


def require_documents(
  documents: Iterator[Document], what: str
) -> Iterator[Document]:
  """Yields `documents`; raises InputError at the end if there were none."""
  found = False
  for document in documents:
    found = True
    yield document
  if not found:
    raise _no_text(what)


def noted_documents(
  documents: Iterator[Document], report: ReadReport
) -> Iterator[Document]:
  """Yields `documents`, those of a group; the report notes if there are any."""
  for document in documents:
    report.has_documents = True
    yield document


def require_text(found: Iterable[tuple[str, bool]]) -> None:
  """Raises InputError where all groups of some files were without documents.

  `found` has Group.what and ReadReport.has_documents of each group.
  """
  files: dict[str, bool] = {}
  for what, has_documents in found:
    files[what] = files.get(what, False) or has_documents
  for what, has_documents in files.items():
    if what and not has_documents:
      raise _no_text(what)


def _no_text(what: str) -> InputError:
  return InputError(f'{what}: there is no text in it; give another --input.')


def _whitespace_before(text: str, limit: int) -> int:
  """The place to cut `text`: at most `limit`, at whitespace if possible."""
  # The first half is left alone: a cut far to the left of the limit would make
  # pieces of very uneven length.
  position = max(text.rfind(c, limit // 2, limit) for c in ' \n\t\u3000')
  return position if position > 0 else limit
