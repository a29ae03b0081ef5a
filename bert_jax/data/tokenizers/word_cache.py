"""Remembers the ids of words, so that a text is looked up, not tokenised.

Most of a text is words that came before. A tokenizer that treats a word alike
wherever it stands need see each of them once: on English novels that makes
encoding about three times as fast (experiments/benchmarks/input.py).
"""

import re
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

# Words kept by a tokenizer, in some tens of MB. Beyond that all are forgotten;
# frequent ones are back after a few texts.
MAX_WORDS = 2**18
# Words that are longer hardly come again: unspaced sentences, data in text.
MAX_WORD_CHARACTERS = 32


class WordCache:
  """Encodes texts word by word.

  Args:
    encode: Texts -> the ids of each. The ids of a text must be those of its
      words, one after the other.
    words: The pattern of a word: its matches, one after the other, are all of a
      text that has ids.
  """

  def __init__(
    self,
    encode: Callable[[Sequence[str]], Sequence[Sequence[int]]],
    words: re.Pattern[str],
  ):
    self._encode = encode
    self._find_words = words.findall
    self._ids: dict[str, Sequence[int]] = {}

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    """int32 [n] ids of each text."""
    words_of_texts = [self._find_words(text) for text in texts]
    known = self._ids
    new = list(set(chain.from_iterable(words_of_texts)).difference(known))
    if len(known) + len(new) > MAX_WORDS:
      known = self._ids = {}
      new = list(set(chain.from_iterable(words_of_texts)))
    known.update(zip(new, self._encode(new), strict=True))
    encoded = [
      np.array([*chain.from_iterable(map(known.__getitem__, words))], np.int32)
      for words in words_of_texts
    ]
    for word in new:
      if len(word) > MAX_WORD_CHARACTERS:
        del known[word]
    return encoded
