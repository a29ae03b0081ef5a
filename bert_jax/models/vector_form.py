"""The way from the states of a text's tokens to its vector, as data.

Tasks and foreign formats both use it, so that neither needs to know the other.
"""

from typing import NamedTuple

POOLINGS = ('mean', 'cls', 'max')


class VectorForm(NamedTuple):
  """The way from the states of a text's tokens to its vector.

  pooling: 'mean' or 'max' over all tokens, [CLS] and [SEP] among them, or the
  state of 'cls'. normalize: vectors have length 1. max_tokens: texts are cut
  there; 0: the model's positions. prompt: stands before each text. dim: only so
  many first numbers of a vector are kept, which are shorter than 1; 0: all.
  """

  pooling: str = 'mean'
  normalize: bool = True
  max_tokens: int = 0
  prompt: str = ''
  dim: int = 0
