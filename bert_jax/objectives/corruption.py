"""Masking of rows: selection of positions, and replacement of their tokens.

Selecting positions is kept apart from replacing them. Both are drawn on the
device, per row, from a key: the same key gives the same masks on any mesh.

Source: Devlin et al. 2019, section 3.1; whole words as in the May 2019 models
of google-research/bert. A difference: the number of masked positions is a share
of the row, never of a batch.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Masked(NamedTuple):
  """Masked positions of each row, at most M.

  positions int32 [B, M]; ids int32 [B, M], the original tokens there; weights
  f32 [B, M], 0 for the unused places at the end.
  """

  positions: jax.Array
  ids: jax.Array
  weights: jax.Array


def capacity(max_rate: float, row_length: int) -> int:
  """Number of places for masked positions in a row: a static shape."""
  return math.ceil(max_rate * row_length)


def select_tokens(
  key: jax.Array, eligible_T: jax.Array, budget: jax.Array, max_masked: int
) -> tuple[jax.Array, jax.Array]:
  """Draws `budget` of the eligible positions of one row, uniformly.

  Args:
    key: A PRNG key.
    eligible_T: bool [T], false on special tokens and padding.
    budget: int scalar, at most `max_masked` and the number of eligible tokens.
    max_masked: M, the number of places.

  Returns:
    (positions int32 [M], used bool [M]).
  """
  # The draw of words of one token each, without the search for their places:
  # known beforehand, XLA works them out while it compiles, and took 18 s of
  # compiling 4,608 rows of 1,024 for a GPU.
  drawable = eligible_T & (budget > 0)
  score = jnp.where(drawable, jax.random.uniform(key, eligible_T.shape), 2.0)
  order = jnp.argsort(score)
  used = drawable[order] & (jnp.arange(len(order)) < budget)
  return order[:max_masked].astype(jnp.int32), used[:max_masked]


def select_words(
  key: jax.Array,
  eligible_T: jax.Array,
  word_starts_T: jax.Array,
  budget: jax.Array,
  max_masked: int,
) -> tuple[jax.Array, jax.Array]:
  """Draws whole words in random order for as long as they fit the budget.

  Words longer than the whole budget are passed over; the first word that no
  longer fits ends the draw, so a row may stay below its budget.
  Arguments and result are those of `select_tokens`; `word_starts_T` is bool
  [T].
  """
  length = eligible_T.shape[0]
  column = jnp.arange(length)
  start = jax.lax.cummax(jnp.where(word_starts_T | ~eligible_T, column, 0))
  word_length = jnp.zeros(length, jnp.int32).at[start].add(1)[start]
  drawable = eligible_T & (word_length <= budget)
  # Each word has the score of its first position. The sort is stable, so that
  # ties keep words together.
  score = jax.random.uniform(key, (length,))[start]
  order = jnp.argsort(jnp.where(drawable, score, 2.0))
  used = drawable[order] & (_last_of_run(start[order]) < budget)
  return order[:max_masked].astype(jnp.int32), used[:max_masked]


def select_spans(
  key: jax.Array,
  eligible_T: jax.Array,
  word_starts_T: jax.Array,
  budget: jax.Array,
  max_masked: int,
  *,
  end_probability: float,
  max_words: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Draws spans of whole words until no word fits the budget any more.

  A span begins at an unmasked word, drawn uniformly, and goes on for a number
  of words drawn from Geometric(end_probability), cut at `max_words` and
  rescaled; it may contain words that are masked already, and ends with its text
  (at a special token) or with the last word that fits.

  Source: Joshi et al. 2020, "SpanBERT", section 3.1, and masking.py of
  facebookresearch/SpanBERT, which cuts a span that no longer fits inside a
  word. Arguments shared with `select_words` are explained there.

  Returns:
    (positions int32 [M], used bool [M], the number of each place's span, int32
    [M], below M).
  """
  start_key, length_key = jax.random.split(key)
  starts_T = word_starts_T | ~eligible_T
  # Numbers of the word and of the text between special tokens, for each place.
  word_T, text_T = jnp.cumsum(starts_T) - 1, jnp.cumsum(~eligible_T)
  last_T = _last_of_run(word_T)
  word_length_T = jnp.zeros_like(word_T).at[word_T].add(1)[word_T]
  score_T = jax.random.uniform(start_key, eligible_T.shape)
  share = (1 - end_probability) ** np.arange(max_words)
  below = np.cumsum(share / share.sum())[:-1].astype(np.float32)
  drawn_T = jax.random.uniform(length_key, eligible_T.shape)
  num_words_T = 1 + jnp.searchsorted(below, drawn_T, side='right')

  def draw(number: jax.Array, span_T: jax.Array) -> jax.Array:
    free_T = eligible_T & (span_T < 0)
    left = budget - jnp.sum(span_T >= 0)
    can_start_T = free_T & starts_T & (word_length_T <= left)
    first = jnp.argmin(jnp.where(can_start_T, score_T, 2.0))
    after_T = word_T - word_T[first]
    span_words_T = (after_T >= 0) & (after_T < num_words_T[first])
    new_T = free_T & span_words_T & (text_T == text_T[first])
    new_T &= (jnp.cumsum(new_T)[last_T] <= left) & can_start_T[first]
    return jnp.where(new_T, number, span_T)

  # Each draw masks at least one token, or changes nothing if no word is left.
  none = jnp.full(eligible_T.shape, -1, jnp.int32)
  span_T = jax.lax.fori_loop(0, max_masked, draw, none)
  (positions_M,) = jnp.nonzero(span_T >= 0, size=max_masked, fill_value=0)
  used_M = jnp.arange(max_masked) < jnp.sum(span_T >= 0)
  spans_M = jnp.maximum(span_T[positions_M], 0)
  return positions_M.astype(jnp.int32), used_M, spans_M


def _last_of_run(values_T: jax.Array) -> jax.Array:
  """The last place of each place's run of equal values, int [T]."""
  column = jnp.arange(values_T.shape[0])
  is_last = jnp.append(values_T[1:] != values_T[:-1], True)
  last = jnp.where(is_last, column, values_T.shape[0])
  return jax.lax.cummin(last, reverse=True)


def replace(
  key: jax.Array,
  ids_M: jax.Array,
  *,
  mask_id: int,
  ordinary_ids: np.ndarray,
  mask_share: float,
  random_share: float,
  spans_M: jax.Array | None = None,
) -> jax.Array:
  """Replaces masked ids int [M] by [MASK], a random token, or themselves.

  The usual 80-10-10 is mask_share 0.8 and random_share 0.1. Random tokens are
  drawn uniformly from the ordinary ones. All places of a span (`spans_M` int
  [M], its number below M) are treated alike. Returns int32 [M].
  """
  choice_key, token_key = jax.random.split(key)
  choice_M = jax.random.uniform(choice_key, ids_M.shape)
  if spans_M is not None:
    choice_M = choice_M[spans_M]
  drawn_M = jax.random.randint(token_key, ids_M.shape, 0, len(ordinary_ids))
  random_M = jnp.asarray(ordinary_ids, jnp.int32)[drawn_M]
  return jnp.where(
    choice_M < mask_share,
    mask_id,
    jnp.where(choice_M < mask_share + random_share, random_M, ids_M),
  ).astype(jnp.int32)
