"""Documents that are left out on purpose: counted, and off by default.

A filter works on the documents in source order, before they are cut into
blocks: what it keeps does not depend on the number of workers.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

from bert_jax.data import user_functions
from bert_jax.data.preparing.near_duplicates import (
  NearDuplicates,
  check_threshold,
)
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
  return _FilteredSource(source, options)


class _FilteredSource:
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

  def documents(self, report: ReadReport) -> Iterator[Document]:
    seen: set[bytes] = set()
    threshold = self._options.near_duplicates
    near = NearDuplicates(threshold) if threshold else None
    for document in self._source.documents(report):
      reason = self._reason(document.text, seen, near)
      if reason:
        report.add(reason, document.origin)
      else:
        yield document

  def describe(self) -> dict:
    # Another filter makes another request.
    filters: dict[str, Any] = dataclasses.asdict(self._options)
    if self._keep:
      filters['keep'] = user_functions.describe(self._options.keep, self._keep)
    return self._source.describe() | {'filters': filters}

  def size_in_bytes(self) -> int:
    return self._source.size_in_bytes()

  def _reason(
    self, text: str, seen: set[bytes], near: NearDuplicates | None
  ) -> str:
    """The reason for leaving a document out; '' if it is kept."""
    options = self._options
    if len(text) < options.min_characters:
      return 'too_short'
    if options.max_characters and len(text) > options.max_characters:
      return 'too_long'
    if self._keep and not self._keep(text):
      return 'left_out_by_function'
    if options.deduplicate:
      digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
      if digest in seen:
        return 'exact_duplicates'
      seen.add(digest)
    if near and not near.is_new(text):
      return 'near_duplicates'
    return ''
