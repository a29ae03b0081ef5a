"""Losses on the vectors of texts, for the tuning of sentence encoders.

Vectors are f32 [B, K, D]: B examples of K texts, of which the first is the
anchor, the second its positive and any others its negatives. A similarity is
the cosine of two vectors. Each function names its source, whose results it
repeats; sentence-transformers has the same losses.
"""

import jax
import jax.numpy as jnp

from bert_jax.models.heads import with_length_1
from bert_jax.models.products import product


def cosines(ones_BD: jax.Array, others_CD: jax.Array) -> jax.Array:
  """The cosine of each vector with each of the others, f32 [B, C]."""
  ones_BD, others_CD = with_length_1(ones_BD), with_length_1(others_CD)
  return product('bd,cd->bc', ones_BD, others_CD, jnp.dtype('float32'))


def pair_cosines(ones_BD: jax.Array, others_BD: jax.Array) -> jax.Array:
  """The cosine of each vector with the other of its row, f32 [B]."""
  return jnp.sum(with_length_1(ones_BD) * with_length_1(others_BD), axis=-1)


def in_batch_negatives(
  vectors_BKD: jax.Array,
  false_negatives_BC: jax.Array,
  *,
  scale: float,
  symmetric: bool,
) -> jax.Array:
  """The cross-entropy of each anchor's positive among all of the batch, [B].

  An anchor's candidates are the positives of all examples and then their
  negatives, column by column: C = B (K - 1). Their cosines times `scale` are
  the logits. Source: Henderson et al. 2017, https://arxiv.org/abs/1705.00652,
  section 4.4.

  `symmetric`: the mean of that and of the cross-entropy of each positive's
  anchor among all anchors. Source: Günther et al. 2023,
  https://arxiv.org/abs/2310.19923, equation 2.

  Args:
    vectors_BKD: The vectors of the batch, K >= 2.
    false_negatives_BC: True for the candidates that are left out; see
      `false_negatives`.
    scale: The inverse of the temperature.
    symmetric: Whether positives look for their anchors too.
  """
  anchors_BD, positives_BD = vectors_BKD[:, 0], vectors_BKD[:, 1]
  logits_BC = scale * cosines(anchors_BD, by_column(vectors_BKD[:, 1:]))
  own_B = jnp.diagonal(logits_BC)
  nll_B = _log_sum(logits_BC, false_negatives_BC) - own_B
  if not symmetric:
    return nll_B
  back_BB = scale * cosines(positives_BD, anchors_BD)
  batch_size = len(anchors_BD)
  back_B = _log_sum(back_BB, false_negatives_BC[:, :batch_size]) - own_B
  return (nll_B + back_B) / 2


def false_negatives(text_ids_BK: jax.Array) -> jax.Array:
  """True for the candidates that are right for an anchor, bool [B, C].

  These are a repetition of the anchor or of its positive, and the positive of
  a repetition of the anchor. An anchor's own positive is none of them. Ids are
  equal where texts are.
  """
  anchors_B1 = text_ids_BK[:, :1]
  positives_B1 = text_ids_BK[:, 1:2]
  candidates_C = by_column(text_ids_BK[:, 1:])
  found_BC = (candidates_C == anchors_B1) | (candidates_C == positives_B1)
  batch_size, num_candidates = found_BC.shape
  same_anchor_BB = anchors_B1 == anchors_B1[:, 0]
  found_BC |= jnp.pad(
    same_anchor_BB, [(0, 0), (0, num_candidates - batch_size)]
  )
  return found_BC & ~jnp.eye(batch_size, num_candidates, dtype=bool)


def squared_cosine_error(
  vectors_B2D: jax.Array, scores_B: jax.Array
) -> jax.Array:
  """The squared difference of a pair's cosine and its score, [B].

  Source: Reimers & Gurevych 2019, https://arxiv.org/abs/1908.10084, section 3.
  """
  return jnp.square(
    pair_cosines(vectors_B2D[:, 0], vectors_B2D[:, 1]) - scores_B
  )


def cosent(
  vectors_B2D: jax.Array, scores_B: jax.Array, *, scale: float
) -> jax.Array:
  """The loss of pairs of examples whose cosines are in the wrong order, [].

  log(1 + sum of exp(scale (cosine i - cosine j)) over all i, j with score i <
  score j). Source: Huang et al. 2024, doi:10.1109/TASLP.2024.3402087.
  """
  cosines_B = scale * pair_cosines(vectors_B2D[:, 0], vectors_B2D[:, 1])
  differences_BB = cosines_B[:, None] - cosines_B
  is_below_BB = scores_B[:, None] < scores_B
  terms = jnp.where(is_below_BB, differences_BB, -jnp.inf).reshape(-1)
  return jax.nn.logsumexp(jnp.append(terms, 0.0))


def triplet(vectors_B3D: jax.Array, *, margin: float) -> jax.Array:
  """The part by which a negative is too near to its anchor, [B].

  max(0, cosine with the negative - cosine with the positive + margin): the loss
  of Schroff et al. 2015, https://arxiv.org/abs/1503.03832, equation 3, with
  cosine distances, that is half its squared distances of vectors of length 1.
  """
  anchors_BD, positives_BD, negatives_BD = vectors_B3D.swapaxes(0, 1)
  excess_B = pair_cosines(anchors_BD, negatives_BD) - pair_cosines(
    anchors_BD, positives_BD
  )
  return jax.nn.relu(excess_B + margin)


def by_column(of_texts_BK: jax.Array) -> jax.Array:
  """All of column 0, then of column 1: [B, K, ...] -> [K B, ...]."""
  return of_texts_BK.swapaxes(0, 1).reshape(-1, *of_texts_BK.shape[2:])


def _log_sum(logits_BC: jax.Array, left_out_BC: jax.Array) -> jax.Array:
  kept_BC = jnp.where(left_out_BC, -jnp.inf, logits_BC)
  return jax.nn.logsumexp(kept_BC, axis=-1)
