"""Documents that are left out on purpose: counted, and off by default.

A filter works on the documents in source order, before they are cut into
blocks: what it keeps does not depend on the number of workers. Documents that
repeat earlier ones, of other groups too, are left out by what duplicates.py
found in a pass before.
"""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from bert_jax.data import user_functions
from bert_jax.data.preparing import duplicates
from bert_jax.data.preparing.near_duplicates import check_threshold
from bert_jax.data.sources import base
from bert_jax.data.sources.base import Document, ReadReport, Source
from bert_jax.errors import InputError

# A set of digests takes about this much memory for each document.
BYTES_PER_DOCUMENT = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterOptions:
  """Documents to leave out; the defaults leave out none.

  min_characters, max_characters: the shortest and the longest document to keep
    (0: no limit).
  deduplicate: keeps the first of documents with the same text; takes about
    BYTES_PER_DOCUMENT of memory for each one kept.
  near_duplicates: leaves out a document that is this similar to an earlier one
    (0: none); see near_duplicates.py, also for its memory.
  keep: 'MODULE:FUNCTION' of the user's, called with each text; False leaves
    it out.
  """

  min_characters: int = 0
  max_characters: int = 0
  deduplicate: bool = False
  near_duplicates: float = 0.0
  keep: str = ''

  def validate(self) -> None:
    """Raises InputError on limits that keep nothing."""
    if self.min_characters < 0 or self.max_characters < 0:
      raise InputError(
        f'--min_characters={self.min_characters} and --max_characters='
        f'{self.max_characters} must be 0 (no limit) or more'
      )
    if 0 < self.max_characters < self.min_characters:
      raise InputError(
        f'--max_characters={self.max_characters} is below --min_characters='
        f'{self.min_characters}: nothing would be kept'
      )
    check_threshold(self.near_duplicates)


def filtered(source: Source, options: FilterOptions) -> Source:
  """The source without what the options leave out.

  Raises InputError where `keep` names no function.
  """
  options.validate()
  if options == FilterOptions():
    return source
  return FilteredSource(source, options)


class FilteredSource:
  """A source that yields the documents that are kept."""

  def __init__(self, source: Source, options: FilterOptions):
    self._source = source
    self._options = options
    self._keep = None
    if options.keep:
      self._keep = user_functions.load(
        'keep', options.keep, 'filters:is_german'
      )
    self.name = source.name
    self._repeats: np.ndarray | None = None

  @property
  def looks_for_repeats(self) -> bool:
    """Whether what is kept depends on documents of other groups."""
    return self._options.deduplicate or bool(self._options.near_duplicates)

  def documents(self, report: ReadReport) -> Iterator[Document]:
    repeats = self._repeats_alone() if self._repeats is None else None
    number = 0
    for document, reason in self._judged(report):
      if not reason and self.looks_for_repeats:
        if repeats:
          reason = repeats(document.text)
        else:
          reason = self._known_repeat(number, document)
        number += 1
      if reason:
        report.add(reason, document.origin)
      else:
        yield document

  def fingerprints(self) -> duplicates.Fingerprints:
    """Makes the fingerprints of documents that no other filter leaves out."""
    options = self._options
    make = duplicates.Maker(options.deduplicate, options.near_duplicates)
    return make(
      document.text
      for document, reason in self._judged(ReadReport())
      if not reason
    )

  def repeats(self) -> duplicates.Repeats:
    """Looks for repeats among all documents, to be shown them in order."""
    options = self._options
    return duplicates.Repeats(options.deduplicate, options.near_duplicates)

  def with_repeats(self, repeats: np.ndarray) -> 'FilteredSource':
    """A copy that knows which of its documents repeat earlier ones.

    Args:
      repeats: uint8 [documents that no other filter leaves out]: places in
        duplicates.REASONS.
    """
    result = copy.copy(self)
    result._repeats = repeats
    return result

  def groups(self) -> list[base.Group]:
    found = []
    for group in base.groups(self._source):
      filtering = copy.copy(self)
      filtering._source = group.source
      found.append(group._replace(source=filtering))
    return found

  def describe(self) -> dict:
    # Another filter makes another request.
    filters: dict[str, Any] = dataclasses.asdict(self._options)
    if self._keep:
      filters['keep'] = user_functions.describe(self._options.keep, self._keep)
    return self._source.describe() | {'filters': filters}

  def size_in_bytes(self) -> int:
    return self._source.size_in_bytes()

  def _judged(self, report: ReadReport) -> Iterator[tuple[Document, str]]:
    """Yields each document with the reason for leaving it out, '' for none.

    Repeats are not among these reasons.
    """
    for document in self._source.documents(report):
      yield document, self._reason(document.text)

  def _reason(self, text: str) -> str:
    options = self._options
    if len(text) < options.min_characters:
      return 'too_short'
    if options.max_characters and len(text) > options.max_characters:
      return 'too_long'
    if self._keep and not self._keep(text):
      return 'left_out_by_function'
    return ''

  def _repeats_alone(self) -> Any:
    """Looks for repeats among the documents of this source alone."""
    options = self._options
    make = duplicates.Maker(options.deduplicate, options.near_duplicates)
    found = self.repeats()
    return lambda text: duplicates.REASONS[int(found(make([text]))[0])]

  def _known_repeat(self, number: int, document: Document) -> str:
    assert self._repeats is not None
    if number >= len(self._repeats):
      raise InputError(
        f'{document.origin}: there are more documents than when repeats were '
        'looked for; wait until the input is complete, and run again'
      )
    return duplicates.REASONS[self._repeats[number]]
