"""Vectors in fewer bytes, and the share of their neighbours that stay.

The codes are those of sentence-transformers 6 (`quantize_embeddings`), so its
functions, faiss and usearch can search them.
"""

import numpy as np

from bert_jax.errors import InputError, quoted
from bert_jax.tasks.retrieval import top_k, with_length_1

FLOAT32, INT8, UBINARY = 'float32', 'int8', 'ubinary'
PRECISIONS = (FLOAT32, INT8, UBINARY)
_DTYPES = {FLOAT32: '<f4', INT8: 'int8', UBINARY: 'uint8'}
_NEIGHBOURS = 10


class Precision:
  """A form of vectors of D numbers, fitted to a sample of them.

  'float32' takes 4 D bytes a vector. 'int8' takes D: each number is one of 256
  steps between the least and the greatest of its column in the sample.
  'ubinary' takes D / 8: a bit says whether a number is above 0.

  Args:
    name: One of PRECISIONS.
    sample_ND: Vectors f32 [N, D], at least one for 'int8'.

  Attributes:
    ranges_2D: The least and the greatest number of each column, f32 [2, D].
    dtype: That of the codes.
    width: Codes of a vector.

  Raises:
    InputError: There is no such precision.
  """

  def __init__(self, name: str, sample_ND: np.ndarray):
    if name not in PRECISIONS:
      raise InputError(
        f'precision={quoted(name)}: choose {", ".join(PRECISIONS)}'
      )
    self.name = name
    dim = sample_ND.shape[1]
    self.width = -(-dim // 8) if name == UBINARY else dim
    self.dtype = np.dtype(_DTYPES[name])
    self.ranges_2D = np.zeros((2, dim), np.float32)
    if name == INT8:
      self.ranges_2D = np.stack([sample_ND.min(axis=0), sample_ND.max(axis=0)])

  def codes(self, vectors_ND: np.ndarray) -> np.ndarray:
    """The codes of vectors f32 [N, D]: `dtype` [N, `width`]."""
    if self.name == UBINARY:
      return np.packbits(vectors_ND > 0, axis=-1)
    if self.name == FLOAT32:
      return vectors_ND.astype(self.dtype)
    starts_D, steps_D = self._steps()
    codes = np.clip(np.floor((vectors_ND - starts_D) / steps_D), 0, 255)
    return (codes - 128).astype(np.int8)

  def num_outside(self, vectors_ND: np.ndarray) -> int:
    """The number of values outside of the ranges; they get the nearest code."""
    if self.name != INT8:
      return 0
    low_D, high_D = self.ranges_2D
    return int(np.sum((vectors_ND < low_D) | (vectors_ND > high_D)))

  def vectors(self, codes: np.ndarray) -> np.ndarray:
    """Vectors f32 [N, D] with these codes; 1 and -1 for bits."""
    if self.name == UBINARY:
      bits = np.unpackbits(codes, axis=-1, count=self.ranges_2D.shape[1])
      return 2 * bits.astype(np.float32) - 1
    if self.name == FLOAT32:
      return codes.astype(np.float32)
    starts_D, steps_D = self._steps()
    return starts_D + (codes.astype(np.float32) + 128.5) * steps_D

  def _steps(self) -> tuple[np.ndarray, np.ndarray]:
    low_D, high_D = self.ranges_2D
    steps_D = (high_D - low_D) / 255
    return low_D, np.where(steps_D == 0, 1, steps_D)


def neighbours_kept(
  vectors_ND: np.ndarray, others_ND: np.ndarray
) -> tuple[float, int] | None:
  """The share of nearest neighbours that other vectors of the texts keep.

  Neighbours of a vector are the 10 others, or all but one of fewer, with the
  largest cosines, by exact search.

  Returns:
    (the share, from 0 to 1; the number of neighbours), or None for fewer than 3
    vectors.
  """
  count = min(_NEIGHBOURS, len(vectors_ND) - 2)
  if count < 1:
    return None
  mine, theirs = (_neighbours(x, count) for x in (vectors_ND, others_ND))
  kept = [len({*a} & {*b}) for a, b in zip(mine, theirs, strict=True)]
  return float(np.mean(kept)) / count, count


def _neighbours(vectors_ND: np.ndarray, count: int) -> list[list[int]]:
  unit_ND = with_length_1(vectors_ND)
  ranked = top_k(unit_ND, unit_ND, count + 1)
  return [
    [other for other in row if other != place][:count]
    for place, row in enumerate(ranked.tolist())
  ]
