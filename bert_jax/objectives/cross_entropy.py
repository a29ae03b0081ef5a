"""Cross-entropy over a vocabulary (saving one array of its size) or classes.

A plain softmax over the vocabulary keeps both the logits and their exponentials
for its gradient, and needs an argmax that does not vectorise. These arrays are
the largest of a pretraining step.
"""

import jax
import jax.numpy as jnp


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


def class_cross_entropy(
  logits: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Cross-entropy over a few classes, where memory does not matter.

  The guess is the highest class, the first one in a tie.

  Args:
    logits: f32 [..., C].
    labels: int [...], the right classes.

  Returns:
    The loss f32 [...], and bool [...], true if the guess is right.
  """
  log_probs = jax.nn.log_softmax(logits, axis=-1)
  nll = -jnp.take_along_axis(log_probs, labels[..., None], axis=-1)[..., 0]
  return nll, jnp.argmax(logits, axis=-1) == labels
