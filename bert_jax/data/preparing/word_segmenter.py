"""Cuts a text into words where no table of tokens can know them.

Chinese is written without spaces, so that a character's token does not tell
where its word begins.
"""

import importlib.metadata
from typing import Any

from bert_jax.data import user_functions
from bert_jax.errors import InputError, quoted, shown

JIEBA = 'jieba'
FLAG = 'word_segmenter'


class WordSegmenter:
  """Jieba's words, or those of a function of the user's.

  Jieba is taken from the package rjieba: the same algorithm and dictionary, in
  Rust, and unlike the package jieba still kept up.

  Args:
    name: 'jieba', or 'MODULE:FUNCTION' that maps a text to the list of its
      words, with white space and punctuation among them.

  Raises:
    InputError: the package is missing, or there is no such function.
  """

  def __init__(self, name: str):
    self._name = name
    if name == JIEBA:
      try:
        import rjieba
      except ModuleNotFoundError:
        raise InputError(
          f'--{FLAG}={name} needs a package: pip install rjieba'
        ) from None
      self._words = rjieba.cut
    else:
      self._words = user_functions.load(
        FLAG, name, f"words:of_text, or '{JIEBA}'"
      )

  def describe(self) -> dict[str, Any]:
    """The segmenter as JSON: all that decides the words."""
    if self._name == JIEBA:
      # The version of the package also decides its dictionary.
      return {'name': JIEBA, 'rjieba': importlib.metadata.version('rjieba')}
    return user_functions.describe(self._name, self._words)

  def __call__(self, text: str) -> list[str]:
    """The words of a text: one after the other, they are the text.

    Raises:
      InputError: the function gave something else.
    """
    words = list(self._words(text))
    if not all(isinstance(word, str) for word in words):
      raise InputError(
        f'--{FLAG}={shown(self._name)}: gave other things than words for '
        f'{quoted(text)}; it must give a list of texts'
      )
    if ''.join(words) != text:
      raise InputError(
        f'--{FLAG}={shown(self._name)}: its words, one after the other, are '
        f'not the text {quoted(text)}; it must leave nothing out, white space '
        'neither'
      )
    return words
