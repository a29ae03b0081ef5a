"""Orders without a table: bijections, uniform, equal in every release."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from bert_jax.data.reading.permutation import Permutation


@hypothesis.given(st.integers(1, 3000), st.integers(-(2**70), 2**70))
@hypothesis.settings(max_examples=100, deadline=None)
def test_permutation_is_a_bijection(size, seed):
  values = Permutation(size, seed)(np.arange(size))
  assert values.dtype == np.int64
  np.testing.assert_array_equal(np.sort(values), np.arange(size))


def test_permutation_of_a_huge_range_needs_no_table():
  size = 2**63
  positions = np.array([0, 1, 2**32, 2**62, size - 1], np.uint64)
  values = Permutation(size, 1)(positions)
  assert len(set(values.tolist())) == len(positions)
  assert (values >= 0).all()


def test_permutation_with_a_key_for_each_position():
  keys = np.array([3, 4, 3], np.uint64)
  together = Permutation(1000, 7, keys)(np.array([5, 5, 6]))
  apart = [
    Permutation(1000, 7, k)(np.array([p]))[0]
    for k, p in [(3, 5), (4, 5), (3, 6)]
  ]
  np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize('size', [3, 4, 5, 6])
def test_small_permutations_are_uniform(size):
  """All size! orders come up equally often over seeds (chi-square)."""
  draws = 12_000
  keys = np.arange(draws)
  orders = np.stack(
    [
      Permutation(size, keys)(np.full(draws, position))
      for position in range(size)
    ],
    axis=1,
  )
  _, counts = np.unique(orders, axis=0, return_counts=True)
  cells = int(np.prod(np.arange(1, size + 1)))
  assert len(counts) == cells
  expected = draws / cells
  chi_square = ((counts - expected) ** 2 / expected).sum()
  # Mean cells - 1, variance twice that; five deviations.
  assert chi_square < cells - 1 + 5 * np.sqrt(2 * (cells - 1))


def test_permutations_are_the_same_in_every_release():
  """Resumed runs rely on it; if it has to change, so has STREAM_VERSION."""
  numbers = np.arange(5)
  small, large = Permutation(1000, 7, 1), Permutation(10**6, 7, 1)
  assert small(numbers).tolist() == [282, 943, 171, 124, 784]
  assert large(numbers).tolist() == [605754, 747725, 64364, 375377, 162323]


def test_permutation_mixes_neighbours():
  values = Permutation(100_000, 0)(np.arange(100_000))
  assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.02
  assert abs(np.corrcoef(values, np.arange(100_000))[0, 1]) < 0.02


def test_permutation_refuses_what_lies_outside():
  with pytest.raises(ValueError, match='position 10 '):
    Permutation(10, 0)(np.array([10]))
  with pytest.raises(ValueError, match='size 0 '):
    Permutation(0, 0)
