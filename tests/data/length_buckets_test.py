"""Few lengths for rows of many lengths."""

import itertools

import numpy as np
import pytest

from bert_jax.data.length_buckets import (
  bucket_of,
  choose_lengths,
  count_tokens,
  rounded_length,
)


def test_tokens_are_counted_up_to_the_last_that_is_no_padding():
  ids = np.array([[5, 0, 7, 0], [5, 0, 0, 0], [0, 0, 0, 0], [1, 2, 3, 4]])
  assert count_tokens(ids, 0).tolist() == [3, 1, 0, 4]
  # An example of several texts counts as its longest.
  assert count_tokens(ids.reshape(2, 2, 4), 0).tolist() == [3, 4]


@pytest.mark.parametrize('max_lengths', [1, 2, 3])
def test_lengths_are_the_best_ones(max_lengths):
  """No choice of as many rounded lengths pads less."""
  num_tokens = np.random.default_rng(0).zipf(1.5, 300).clip(3, 60)
  lengths = choose_lengths(num_tokens, 60, max_lengths)
  candidates = sorted({rounded_length(int(n), 60) for n in num_tokens})
  fewest = min(
    _padded(num_tokens, np.array(chosen))
    for chosen in itertools.combinations(candidates, len(lengths))
    if chosen[-1] == candidates[-1]
  )
  assert len(lengths) == max_lengths
  assert _padded(num_tokens, lengths) == fewest


def test_a_length_that_saves_little_is_not_taken():
  assert choose_lengths(np.full(50, 31), 128, 4).tolist() == [32]
  # One row in fifty is shorter: a length for it saves 1 % of the tokens.
  assert choose_lengths(np.array([31] * 49 + [16]), 128, 4).tolist() == [32]
  found = choose_lengths(np.array([31] * 25 + [16] * 25), 128, 4)
  assert found.tolist() == [16, 32]


def test_the_longest_row_has_its_place():
  assert choose_lengths(np.array([61, 5, 5, 5]), 61, 2).tolist() == [8, 61]


def _padded(num_tokens, lengths):
  return lengths[bucket_of(num_tokens, lengths)].sum()
