"""Cross-entropy against its definition, values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from bert_jax.models.functional import flatten
from bert_jax.models.heads import model_with_heads
from bert_jax.objectives import cross_entropy as module
from bert_jax.objectives.cross_entropy import (
  class_cross_entropy,
  cross_entropy,
)
from bert_jax.objectives.mlm import MaskedLMConfig


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


OBJECTIVE = MaskedLMConfig().build(toys.table())


def loss_and_sums(model, batch, params):
  module = model.bind(params)
  found = OBJECTIVE.losses(module, OBJECTIVE.encode(module, batch, None), None)
  return found[0]['mlm_loss'][0], found


def test_pieces_give_the_loss_of_the_whole(monkeypatch):
  model = toys.model(OBJECTIVE)
  batch = OBJECTIVE.prepare(toys.batch(4, 32), jax.random.key(0))
  compute = jax.value_and_grad(
    functools.partial(loss_and_sums, model, batch), has_aux=True
  )
  expected = compute(toys.params(model))
  # Three of the places of each row at a time: not a divisor of their number.
  assert batch['masked_ids'].shape[1] % 3
  monkeypatch.setattr(module, 'MAX_SCORES', 3 * 4 * toys.VOCAB_SIZE)
  found = compute(toys.params(model))
  for name, value in flatten(expected).items():
    np.testing.assert_allclose(
      flatten(found)[name], value, rtol=1e-4, atol=1e-5, err_msg=name
    )


def test_a_vocabulary_of_250_000_fits():
  """The step's memory does not grow with the number of masked positions."""
  config = toys.encoder_config(vocab_size=250_000, max_positions=512)
  model = model_with_heads(config, OBJECTIVE.heads(), 'float32')
  batch = {
    'input_ids': jax.ShapeDtypeStruct((64, 512), jnp.int32),
    'example_number': jax.ShapeDtypeStruct((64, 2), jnp.uint32),
  }

  def total(params, batch):
    prepared = OBJECTIVE.prepare(batch, jax.random.key(0))
    return loss_and_sums(model, prepared, params)[0]

  compiled = jax.jit(jax.grad(total)).lower(model.abstract_params(), batch)
  memory = compiled.compile().memory_analysis().temp_size_in_bytes
  # At once, the scores of 64 x 77 positions would take 4.6 GiB, twice.
  assert memory < 2 * 4 * module.MAX_SCORES + 2**30
