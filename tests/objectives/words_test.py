"""The draw of tokens and of whole words for masking."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.objectives import corruption

MAX_MASKED = 20


def rows(length=64, number=200):
  """Rows with any share of eligible tokens, and budgets from none to all."""
  random = np.random.default_rng(0)
  eligible = random.random((number, length)) < random.random((number, 1))
  budget = random.integers(0, MAX_MASKED + 1, number)
  keys = jax.random.split(jax.random.key(1), number)
  return keys, eligible, np.minimum(budget, eligible.sum(1))


def test_tokens_are_drawn_as_words_of_one_token_each():
  keys, eligible, budget = rows()
  tokens = jax.vmap(
    functools.partial(corruption.select_tokens, max_masked=MAX_MASKED)
  )(keys, eligible, budget)
  words = jax.vmap(
    functools.partial(corruption.select_words, max_masked=MAX_MASKED)
  )(keys, eligible, np.ones_like(eligible), budget)
  for ours, expected in zip(tokens, words, strict=True):
    np.testing.assert_array_equal(ours, expected)
  np.testing.assert_array_equal(tokens[1].sum(1), budget)


@pytest.mark.parametrize('budget', [1, 4, 7])
def test_words_of_equal_scores_stay_together(monkeypatch, budget):
  monkeypatch.setattr(jax.random, 'uniform', lambda key, shape: jnp.ones(shape))
  starts = np.array([1, 0, 1, 0, 0, 1, 1, 0], bool)
  positions, used = corruption.select_words(
    jax.random.key(0), np.ones(8, bool), starts, budget, 8
  )
  # Words are {0, 1}, {2, 3, 4}, {5} and {6, 7}; the first that fits, on to the
  # first that does not.
  expected = {1: [5], 4: [0, 1], 7: [0, 1, 2, 3, 4, 5]}[budget]
  assert positions[used].tolist() == expected
