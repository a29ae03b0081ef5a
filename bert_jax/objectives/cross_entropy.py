"""Cross-entropy over a vocabulary (saving one array of its size) or classes.

A plain softmax over the vocabulary keeps both the logits and their exponentials
for its gradient, and needs an argmax that does not vectorise. These arrays are
the largest of a pretraining step.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.models.masks import filled_up
from bert_jax.objectives.base import summed
from bert_jax.parallel.sharding import rows_per_device

# Most f32 scores that a loss over a vocabulary computes at once on a device.
MAX_SCORES = 2**29


@jax.custom_vjp
def cross_entropy(
  logits: jax.Array, ids: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns -log softmax(logits)[id], and true if no other id scores higher.

  Args:
    logits: f32 [..., V].
    ids: int [...], the right ids.

  Returns:
    f32 [...] and bool [...]; only the first has a gradient.
  """
  return _forward(logits, ids)[0]


@jax.named_scope('cross_entropy')
def _forward(logits, ids):
  right_logit = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
  log_sum = jax.nn.logsumexp(logits, axis=-1)
  # Computing the maximum is free: logsumexp needs it too.
  is_highest = right_logit == jnp.max(logits, axis=-1)
  return (log_sum - right_logit, is_highest), (logits, ids, log_sum)


@jax.named_scope('cross_entropy')
def _backward(kept, cotangents):
  logits, ids, log_sum = kept
  # A matrix is the shape that the preceding product works with; with any other,
  # compilers write the error twice, once in each shape.
  matrix = logits.reshape(-1, logits.shape[-1])
  column = jnp.arange(matrix.shape[-1], dtype=ids.dtype)
  softmax = jnp.exp(matrix - log_sum.reshape(-1, 1))
  error = softmax - (ids.reshape(-1, 1) == column)
  error = error * cotangents[0].reshape(-1, 1)
  return error.reshape(logits.shape), None


cross_entropy.defvjp(_forward, _backward)


def in_pieces(
  losses_of: Callable[..., Any],
  arrays: tuple[jax.Array, ...],
  vocab_size: int,
) -> Any:
  """The sums that `losses_of(*arrays)` returns, from pieces that fit in memory.

  `arrays` are [B, M, ...], with weights 0 for positions that do not count, and
  `losses_of` computes f32 scores [B, M, V] of them. More than 2 GiB of scores
  on a device are computed in pieces along M, one after the other, and again in
  the backward pass.
  """
  batch_size, num_positions = arrays[0].shape[:2]
  fitting = MAX_SCORES // (rows_per_device(batch_size) * vocab_size)
  size = max(1, min(num_positions, fitting))
  if size == num_positions:
    return losses_of(*arrays)

  def pieces(x: jax.Array) -> jax.Array:
    x = filled_up(x, size).reshape(batch_size, -1, size, *x.shape[2:])
    return jnp.moveaxis(x, 1, 0)

  of_piece = jax.checkpoint(lambda piece: losses_of(*piece), prevent_cse=False)
  return summed(of_piece, tuple(map(pieces, arrays)))


def class_cross_entropy(
  logits: jax.Array, labels: jax.Array, smoothing: float = 0.0
) -> tuple[jax.Array, jax.Array]:
  """Cross-entropy over a few classes, where memory does not matter.

  The guess is the highest class, the first one in a tie.

  Args:
    logits: f32 [..., C].
    labels: int [...], the right classes.
    smoothing: the share of a label that is spread evenly over all classes, as
      in Szegedy et al. 2016, https://arxiv.org/abs/1512.00567.

  Returns:
    The loss f32 [...], and bool [...], true if the guess is right.
  """
  log_probs = jax.nn.log_softmax(logits, axis=-1)
  nll = -jnp.take_along_axis(log_probs, labels[..., None], axis=-1)[..., 0]
  if smoothing:
    nll = (1 - smoothing) * nll - smoothing * jnp.mean(log_probs, axis=-1)
  return nll, jnp.argmax(logits, axis=-1) == labels


def divergence(logits: jax.Array, other_logits: jax.Array) -> jax.Array:
  """The mean of both Kullback-Leibler divergences of two softmaxes.

  Both are f32 [..., C] and both have a gradient. Returns f32 [...].
  """
  log_p = jax.nn.log_softmax(logits, axis=-1)
  log_q = jax.nn.log_softmax(other_logits, axis=-1)
  return jnp.sum((jnp.exp(log_p) - jnp.exp(log_q)) * (log_p - log_q), -1) / 2
