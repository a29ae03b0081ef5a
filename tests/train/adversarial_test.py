"""FGM: how far texts are moved, what it costs them, and what it goes with."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.train.adversarial import FGMConfig, steepest
from bert_jax.train.state import init_state
from bert_jax.train.step import all_trainable, make_train_step

TASK = ClassificationConfig().build(toys.table(), {'labels': ['a', 'b', 'c']})
# A table narrower than the layers, with dropout: the moved text drops the same.
SIZES = dict(embedding_size=8, dropout=0.1)
MODEL = toys.model(TASK, **SIZES)
KEY = jax.random.key(0)
EPSILON = 0.5


def labelled_batch():
  return toys.batch(16, 32) | {
    'labels': jnp.arange(16) % 3,
    'label_weights': jnp.ones(16),
  }


def run(objective, model, batch, *, join=all_trainable, **options):
  """(metrics, the gradients) of one step."""
  fgm = FGMConfig(epsilon=EPSILON).build(SIZES['embedding_size'])
  params, frozen = model.init(KEY), {}
  if join is not all_trainable:
    frozen = {'encoder': params.pop('encoder')}
  # A rate of 1 and no moments: parameters move by their gradient itself.
  optimizer = optax.scale(1.0)
  step = make_train_step(
    objective,
    model,
    optimizer,
    lambda step: 1.0,
    gradients=options.pop('gradients', fgm),
    join=join,
    **options,
  )
  state = init_state(params, optimizer, keep_best=False)
  after, metrics = jax.jit(step)(state, frozen, batch, KEY)
  return metrics, jax.tree.map(jnp.subtract, after.params, params)


def loss_of(metrics, name):
  total, weight = metrics['sums'][name]
  return float(total / weight)


@pytest.fixture(scope='module')
def tuned():
  return run(TASK, MODEL, labelled_batch())


def test_every_row_is_moved_by_epsilon_and_one_without_gradient_stays():
  gradient = jax.random.normal(KEY, (4, 5, 6)) * 1e-25
  gradient = gradient.at[2].set(0)
  delta = np.asarray(steepest(gradient, EPSILON), np.float64)
  norms = np.sqrt((delta**2).sum((1, 2)))
  np.testing.assert_allclose(norms, [EPSILON, EPSILON, 0, EPSILON], rtol=1e-5)
  direction = np.asarray(gradient, np.float64)[0]
  direction *= EPSILON / np.sqrt((direction**2).sum())
  np.testing.assert_allclose(delta[0], direction, rtol=1e-5)


def test_the_moved_texts_cost_more(tuned):
  metrics, _ = tuned
  clean = loss_of(metrics, 'classification_loss')
  moved = loss_of(metrics, 'adversarial_classification_loss')
  assert moved > clean + 0.01
  assert float(metrics['loss']) == pytest.approx(clean + moved, rel=1e-6)


def test_gradients_of_both_batches_are_added(tuned):
  """Against both, each taken for itself, with the delta worked out by hand."""

  def by_hand(loss_fn, params, frozen, batch, key):
    shape = (*batch[0]['input_ids'].shape, SIZES['embedding_size'])
    upward = jax.grad(lambda d: loss_fn(params, frozen, batch, d)[0])(
      jnp.zeros(shape)
    )
    norm = jnp.linalg.norm(upward.reshape(len(upward), -1), axis=1)
    delta = EPSILON * upward / norm[:, None, None]
    clean, first = jax.value_and_grad(loss_fn, has_aux=True)(
      params, frozen, batch
    )
    _, second = jax.value_and_grad(loss_fn, has_aux=True)(
      params, frozen, batch, delta
    )
    return clean, jax.tree.map(jnp.add, first, second)

  _, expected = run(TASK, MODEL, labelled_batch(), gradients=by_hand)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-4),
    tuned[1],
    expected,
  )


def test_microbatches_give_the_same(tuned):
  metrics, gradients = run(TASK, MODEL, labelled_batch(), num_microbatches=4)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6, rtol=1e-4),
    (metrics, gradients),
    tuned,
  )


def test_a_frozen_table_is_moved_too(tuned):
  """The delta goes to the output of the table, which has no gradient here."""
  metrics, gradients = run(
    TASK, MODEL, labelled_batch(), join=lambda params, frozen: params | frozen
  )
  assert gradients.keys() == {'pooler', 'classifier'}
  for name in metrics['sums']:
    assert loss_of(metrics, name) == pytest.approx(loss_of(tuned[0], name))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-4),
    gradients,
    {name: tuned[1][name] for name in gradients},
  )


def test_pretraining_takes_it_as_well():
  objective = MaskedLMConfig().build(toys.table())
  model = toys.model(objective, **SIZES)
  metrics, _ = run(objective, model, toys.batch(16, 32))
  clean = loss_of(metrics, 'mlm_loss')
  assert loss_of(metrics, 'adversarial_mlm_loss') > clean


def test_no_length_is_refused():
  with pytest.raises(InputError, match=r'gradients.epsilon is 0.0; it must be'):
    FGMConfig(epsilon=0.0).validate()
