"""The share of unknown tokens of a corpus, from the counts of its blocks.

Unknown ids are counted in all documents; their words are looked for in a few of
each block, which costs next to nothing and is the same for any workers.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from bert_jax.data.tokenizers import unknown
from bert_jax.data.tokenizers.base import Tokenizer
from bert_jax.errors import InputError

MAX_SHARE = unknown.MAX_SHARE
TOKENS = 'unknown_tokens'
# Prefix of an unknown word among the counts of a block.
_WORD = 'unknown_word:'
# Texts to look at and words to keep, of each block and part.
_TEXTS, _WORDS = 32, 20
# Words kept of a corpus: beyond it the rarest are forgotten.
_MAX_WORDS = 10_000
# Share that is too much after one block alone: another block may differ.
_EARLY_SHARE = 0.5


class BlockSample:
  """Counts what is unknown in the documents of a block."""

  def __init__(self, tokenizer: Tokenizer):
    self._tokenizer = tokenizer
    self._num_texts: Counter[str] = Counter()
    self._words: dict[str, Counter[str]] = {}

  def add(
    self, part: str, text: str, ids: np.ndarray, counts: Counter[str]
  ) -> None:
    """Adds a document of a part, whose `counts` get its unknown tokens."""
    found = int(np.count_nonzero(ids == self._tokenizer.table.unk_id))
    if not found:
      return
    counts[TOKENS] += found
    self._num_texts[part] += 1
    if self._num_texts[part] <= _TEXTS:
      common = self._words.setdefault(part, Counter())
      common.update(unknown.words(self._tokenizer, text))

  def write_words(self, counts: dict[str, Counter[str]]) -> None:
    """Puts the commonest words among the counts of each part."""
    for part, common in self._words.items():
      for word in unknown.most_common(common, _WORDS):
        counts[part][_WORD + word] = common[word]


def forget_rare_words(counts: Counter[str]) -> None:
  """Leaves the commonest of very many unknown words among these counts."""
  words = Counter({k: n for k, n in counts.items() if k.startswith(_WORD)})
  if len(words) > _MAX_WORDS:
    kept = set(unknown.most_common(words, _MAX_WORDS // 2))
    for word in words.keys() - kept:
      del counts[word]


class UnknownShare:
  """The unknown share of a corpus, group by group in their order.

  Args:
    tokenizer: the tokenizer of the corpus.
    max_share: the share of its tokens that may be unknown.
  """

  def __init__(self, tokenizer: Tokenizer, max_share: float):
    if not 0 < max_share <= 1:
      raise InputError(
        f'--max_unknown={max_share}: give a share above 0, up to 1'
      )
    self._max_share = max_share
    self._found = unknown.Unknown(tokenizer)
    self._num_added = 0

  def add(self, counts: Iterable[Counter[str]]) -> None:
    """Takes the counts of a group or block, and its words out of them.

    Raises:
      InputError: the first of them shows already that a setting is wrong.
    """
    found = self._found
    for count in counts:
      found.num_tokens += count['tokens']
      found.num_unknown += count[TOKENS]
      for name in [name for name in count if name.startswith(_WORD)]:
        found.common[name.removeprefix(_WORD)] += count.pop(name)
    if len(found.common) > _MAX_WORDS:
      kept = unknown.most_common(found.common, _MAX_WORDS // 2)
      found.common = Counter({word: found.common[word] for word in kept})
    self._num_added += 1
    if self._num_added == 1:
      self.check(max(self._max_share, _EARLY_SHARE))

  def check(self, max_share: float | None = None) -> None:
    """Raises InputError where so much is unknown that a setting is wrong."""
    if max_share is None:
      max_share = self._max_share
    if why := self._found.problem(max_share):
      raise InputError(
        f'--tokenizer: {why}; {self._found.line()}; --max_unknown=1 goes on in '
        'spite of it'
      )

  def facts(self) -> dict[str, Any]:
    """Entries about unknown tokens for the record of a corpus."""
    return {
      'num_unknown': self._found.num_unknown,
      'words': unknown.most_common(self._found.common, _WORDS),
      'line': self._found.line(),
    }
