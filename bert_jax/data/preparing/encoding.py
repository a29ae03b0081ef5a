"""Texts as tokens, and where among these words, lines and sentences begin.

A unit - a word, a line, a sentence - is a stretch of characters. A token is the
first of a unit where its first character lies in another one than the last
character of the token before it. White space belongs to the unit after it: so
it does to tokens that begin with a space.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.data.preparing.word_segmenter import WordSegmenter
from bert_jax.data.tokenizers.base import Tokenizer

# A sentence ends within a line at a mark with white space after it, or
# at one of those that unspaced scripts have, with the quotes and brackets that
# it closes. The full stop of an abbreviation ends one as well.
_SENTENCE_ENDS = re.compile(
  r'[.!?؟۔।॥።][.!?]*["\'”’»)\]]*(?=\s)|[。！？｡][。！？｡]*[”’」』）)\]"]*'
)


class EncodedText(NamedTuple):
  """A text's tokens; flags where they were asked for.

  ids: int32 [n].
  word_starts: bool [n], with a word segmenter.
  line_starts, sentence_starts: bool [n]; a line starts a sentence too.
  """

  ids: np.ndarray
  word_starts: np.ndarray | None = None
  line_starts: np.ndarray | None = None
  sentence_starts: np.ndarray | None = None


class Encoder:
  """Encodes texts; what is not asked for costs nothing."""

  def __init__(
    self,
    tokenizer: Tokenizer,
    segmenter: WordSegmenter | None = None,
    *,
    sentences: bool = False,
  ):
    self._tokenizer = tokenizer
    self._segmenter = segmenter
    self._sentences = sentences

  def __call__(self, texts: Sequence[str]) -> list[EncodedText]:
    if not (self._segmenter or self._sentences):
      return [EncodedText(ids) for ids in self._tokenizer.encode_batch(texts)]
    return [
      EncodedText(ids, *self._flags(text, offsets))
      for text, (ids, offsets) in zip(
        texts, self._tokenizer.encode_with_offsets(texts), strict=True
      )
    ]

  def _flags(
    self, text: str, offsets: np.ndarray
  ) -> tuple[np.ndarray | None, ...]:
    words = lines = sentences = None
    is_space = np.fromiter(map(str.isspace, text), bool, len(text))
    if self._segmenter:
      words = _first_tokens(
        _word_starts(self._segmenter(text)), offsets, is_space
      )
    if self._sentences:
      ends = [match.end() for match in re.finditer('\n', text)]
      lines = _first_tokens(ends, offsets, is_space)
      ends += [match.end() for match in _SENTENCE_ENDS.finditer(text)]
      sentences = _first_tokens(ends, offsets, is_space)
    return words, lines, sentences


def _word_starts(words: list[str]) -> np.ndarray:
  return np.cumsum([len(word) for word in words])


def _first_tokens(
  starts: Sequence[int] | np.ndarray, offsets: np.ndarray, is_space: np.ndarray
) -> np.ndarray:
  """bool [n]: the tokens that are the first of a unit.

  Args:
    starts: the characters at which units start, with or without the first.
    offsets: int64 [n, 2] of the tokens.
    is_space: bool [characters] of the text.
  """
  length = len(is_space)
  if not len(offsets):
    return np.zeros(0, bool)
  marks = np.bincount(np.asarray(starts, np.int64), minlength=length + 1)
  unit = np.cumsum(marks[:length])
  # The next character that is no white space, and the last one; a text's white
  # space at its end is a unit of its own.
  place = np.arange(length)
  following = np.minimum.accumulate(np.where(is_space, length, place)[::-1])[
    ::-1
  ]
  preceding = np.maximum.accumulate(np.where(is_space, -1, place))
  unit = np.append(unit, unit[-1] + 1)[following]
  first, last = offsets[:, 0], offsets[:, 1] - 1
  last = np.maximum(preceding[last], first)
  begins = unit[first[1:]] != unit[last[:-1]]
  return np.append(True, begins)
