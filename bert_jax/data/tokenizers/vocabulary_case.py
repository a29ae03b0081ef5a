"""Tells whether a vocabulary is of lowered text, or of text without accents.

Asked only where no file beside it says so. Single entries decide nothing: an
uncased vocabulary may have [E1] or BOS, and a cased one always has thousands of
capitals (Google's: 31 % of the entries with letters).
"""

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

# Google's uncased vocabulary has no capital and no accent at all.
MAX_CAPITALS = 0.05
MAX_MARKED = 0.005


class VocabularyCase(NamedTuple):
  """The case and accents that the entries show.

  lowercase, strip_accents: the changes to the text they were made of.
  reason: the counts that show it, for a message.
  """

  lowercase: bool
  strip_accents: bool
  reason: str


def of_entries(entries: Iterable[str]) -> VocabularyCase:
  """Looks at words and pieces, without their marks of continuation.

  An entry in brackets, as [unused1] or <s>, is a symbol and does not count.
  """
  total = letters = cased = capitals = marked = 0
  for entry in entries:
    total += 1
    if len(entry) > 2 and entry[0] + entry[-1] in ('[]', '<>'):
      continue
    lowered = entry.lower()
    if any(map(str.isalpha, entry)):
      letters += 1
    if lowered != entry or entry.upper() != entry:
      cased += 1
    capitals += lowered != entry
    marked += without_accents(entry) != entry
  lowercase = capitals <= MAX_CAPITALS * cased
  strips = lowercase and marked <= MAX_MARKED * letters
  reason = f'{capitals:,} of {total:,} entries have a capital'
  if lowercase:
    reason += f', {marked:,} an accent or another mark'
  return VocabularyCase(lowercase, strips, reason)


def without_accents(text: str) -> str:
  """Strips accents and other marks as an uncased WordPiece does."""
  return ''.join(
    c
    for c in unicodedata.normalize('NFD', text)
    if unicodedata.category(c) != 'Mn'
  )
