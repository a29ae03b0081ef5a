"""Codes of vectors, and the share of neighbours that they keep."""

import numpy as np
import pytest
from refusals import refusal

from bert_jax.vector_precision import Precision, neighbours_kept

# Two columns from -1 to 1 and 0 to 0.51, and one that is all 2.
SAMPLE = np.array([[-1, 0, 2], [1, 0.51, 2]], np.float32)


def test_int8():
  """A step is a 255th of a column's range; others get the nearest code."""
  form = Precision('int8', SAMPLE)
  vectors = np.array(
    [[-1, 0.51, 2], [-0.999, 0.0101, 2], [7, -1, 2]], np.float32
  )
  codes = form.codes(vectors)
  assert codes.dtype == form.dtype == np.int8 and form.width == 3
  np.testing.assert_array_equal(
    codes, [[-128, 127, -128], [-128, -123, -128], [127, -128, -128]]
  )
  assert form.num_outside(vectors) == 2
  np.testing.assert_allclose(form.ranges_2D, [[-1, 0, 2], [1, 0.51, 2]])
  steps = np.array([2 / 255, 0.002, 1])
  np.testing.assert_allclose(
    form.vectors(codes[:2]), [-1, 0, 2] + (codes[:2] + 128.5) * steps, 1e-6
  )


def test_bits():
  """The first number is the highest bit, as in numpy's packbits."""
  form = Precision('ubinary', np.zeros((0, 9)))
  vectors = np.array([[1, -1, 0, 0.5, 0, 0, 0, 0, 3]], np.float32)
  codes = form.codes(vectors)
  assert form.width == 2 and codes.tolist() == [[0b10010000, 0b10000000]]
  expected = [[1, -1, -1, 1, -1, -1, -1, -1, 1]]
  assert form.vectors(codes).tolist() == expected


def test_neighbours_kept():
  """An exchange of two among 4 vectors in a circle costs a half."""
  angles = np.array([0, 0.1, 0.3, 0.65])
  circle = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
  assert neighbours_kept(circle, 3 * circle) == (1.0, 2)
  # Nearest two of each: {1, 2}, {0, 2}, {1, 0}, {2, 1}; then, with the last two
  # exchanged: {1, 3}, {0, 3}, {3, 1}, {1, 0}.
  assert neighbours_kept(circle, circle[[0, 1, 3, 2]]) == (0.5, 2)
  assert neighbours_kept(circle[:2], circle[:2]) is None


@pytest.mark.parametrize('name', ['int4', ''])
def test_refused(name):
  assert f'precision={name!r}: choose float32, int8, ubinary' in (
    refusal(Precision, name, SAMPLE)
  )
