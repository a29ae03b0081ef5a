"""Cross-entropy against its definition, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.objectives.cross_entropy import (
  class_cross_entropy,
  cross_entropy,
)


def plain(logits, ids):
  log_probs = jax.nn.log_softmax(logits, axis=-1)
  return -jnp.take_along_axis(log_probs, ids[..., None], axis=-1)[..., 0]


@pytest.mark.parametrize('scale', [1.0, 30.0, 1e4])
def test_equals_log_softmax(scale):
  logits = scale * jax.random.normal(jax.random.key(0), (3, 5, 17))
  ids = jax.random.randint(jax.random.key(1), (3, 5), 0, 17)
  found, is_highest = cross_entropy(logits, ids)
  np.testing.assert_allclose(found, plain(logits, ids), rtol=2e-6, atol=2e-6)
  np.testing.assert_array_equal(is_highest, logits.argmax(-1) == ids)


def test_the_gradient_too():
  logits = 5 * jax.random.normal(jax.random.key(0), (4, 6, 11))
  ids = jax.random.randint(jax.random.key(1), (4, 6), 0, 11)
  weights = jax.random.uniform(jax.random.key(2), (4, 6))
  found = jax.grad(lambda x: jnp.sum(cross_entropy(x, ids)[0] * weights))
  expected = jax.grad(lambda x: jnp.sum(plain(x, ids) * weights))
  np.testing.assert_allclose(
    jax.jit(found)(logits), expected(logits), rtol=1e-5, atol=1e-6
  )


def test_of_classes_that_score_alike_the_first_is_the_guess():
  logits = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]], np.float32)
  labels = np.array([0, 2])
  loss, is_right = class_cross_entropy(logits, labels)
  log_sum = np.log(np.exp(logits).sum(axis=-1))
  np.testing.assert_allclose(loss, log_sum - [1.0, 2.0], rtol=1e-6)
  assert is_right.tolist() == [True, False]


def test_an_infinite_logit_stays_visible():
  logits = jnp.zeros((1, 4)).at[0, 2].set(jnp.inf)
  loss, _ = cross_entropy(logits, jnp.array([0]))
  assert not np.isfinite(loss).all()
