"""Losses of scores for the documents of a query, f32 [B, K] or [B]."""

import jax
import jax.numpy as jnp

from bert_jax.objectives.cross_entropy import class_cross_entropy


def binary(scores_B: jax.Array, labels_B: jax.Array) -> jax.Array:
  """Cross-entropy [B] of sigmoid(score) with a label from 0 to 1.

  Pointwise, as in monoBERT (Nogueira & Cho 2019) and as BinaryCrossEntropyLoss
  of sentence-transformers.
  """
  return jax.nn.softplus(scores_B) - scores_B * labels_B


def margin(scores_BK: jax.Array, margin: float) -> jax.Array:
  """Mean over the negatives of max(0, margin - (positive - negative)), [B].

  Column 0 scores the positive. It is the hinge on pairs of Ranking SVM
  (Herbrich et al. 2000), and torch's margin_ranking_loss.
  """
  difference_BN = scores_BK[:, :1] - scores_BK[:, 1:]
  return jnp.mean(jax.nn.relu(margin - difference_BN), axis=1)


def listwise(scores_BK: jax.Array) -> jax.Array:
  """Cross-entropy [B] of a softmax over the documents; column 0 is right.

  ListNet's top-one probability (Cao et al. 2007) with a single right document,
  as rerankers of Gao et al. 2021 are tuned (LCE).
  """
  right_B = jnp.zeros(len(scores_BK), jnp.int32)
  return class_cross_entropy(scores_BK, right_B)[0]
