"""Which positions are masked, and what stands there instead.

Choosing positions is kept apart from replacing them. Both are drawn on the
device, per row, from a key: the same key gives the same masks on any mesh.

Source: Devlin et al. 2019, section 3.1; whole words as in the May 2019 models
of google-research/bert. Different from there: the number of masked positions
is a share of the row, never of a batch.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Masked(NamedTuple):
  """Up to M masked positions of each row.

  positions int32 [B, M], ids int32 [B, M] (what stood there), weights f32
  [B, M] (0 for the unused places at the end).
  """

  positions: jax.Array
  ids: jax.Array
  weights: jax.Array


def capacity(max_rate: float, row_length: int) -> int:
  """Places for masked positions in a row: a static shape."""
  return math.ceil(max_rate * row_length)


def select_tokens(
  key: jax.Array, eligible_T: jax.Array, budget: jax.Array, max_masked: int
) -> tuple[jax.Array, jax.Array]:
  """Draws `budget` of the eligible positions of one row, each as likely.

  Args:
    key: a PRNG key.
    eligible_T: bool [T], false on special tokens and padding.
    budget: int scalar, at most `max_masked` and the number of eligible ones.
    max_masked: M.

  Returns:
    (positions int32 [M], used bool [M]).
  """
  return select_words(
    key, eligible_T, jnp.ones_like(eligible_T), budget, max_masked
  )


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
  Arguments and result as `select_tokens`; `word_starts_T` is bool [T].
  """
  length = eligible_T.shape[0]
  column = jnp.arange(length)
  start = jax.lax.cummax(jnp.where(word_starts_T | ~eligible_T, column, 0))
  word_length = jnp.zeros(length, jnp.int32).at[start].add(1)[start]
  drawable = eligible_T & (word_length <= budget)
  # One draw a word (that of its first position); ties keep words together.
  score = jax.random.uniform(key, (length,))[start]
  score = jnp.where(drawable, score, 2.0)
  order = jnp.lexsort((column, start, score))
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

  A span begins at a word that is not masked yet, each as likely, and goes on
  for a number of words drawn from Geometric(end_probability), cut at
  `max_words` and rescaled; it runs over words that are masked already, and ends
  with its text (at a special token) or with the last word that fits.

  Source: Joshi et al. 2020, "SpanBERT", section 3.1, and masking.py of
  facebookresearch/SpanBERT. There a span that no longer fits is cut inside a
  word.

  Args: as `select_words`.

  Returns:
    (positions int32 [M], used bool [M], int32 [M] the number of the span that
    each place belongs to, below M).
  """
  start_key, length_key = jax.random.split(key)
  starts_T = word_starts_T | ~eligible_T
  # Which word, and which text between special tokens, a place belongs to.
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

  # Each draw masks a token at least; those without a word left change nothing.
  none = jnp.full(eligible_T.shape, -1, jnp.int32)
  span_T = jax.lax.fori_loop(0, max_masked, draw, none)
  (positions_M,) = jnp.nonzero(span_T >= 0, size=max_masked, fill_value=0)
  used_M = jnp.arange(max_masked) < jnp.sum(span_T >= 0)
  spans_M = jnp.maximum(span_T[positions_M], 0)
  return positions_M.astype(jnp.int32), used_M, spans_M


def _last_of_run(values_T: jax.Array) -> jax.Array:
  """For each place the last place of its run of equal values."""
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
  """What stands at masked positions: [MASK], a random token, or the token.

  80-10-10 is mask_share 0.8 and random_share 0.1. A random token is any
  ordinary one, each as likely. Places of one span (`spans_M` int [M], its
  number below M) are treated alike. ids int [M] -> int32 [M].
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
