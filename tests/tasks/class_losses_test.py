"""Label smoothing, class weights and R-Drop: numbers, steps, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys
from tuning import tuning

from bert_jax.data.examples import Examples
from bert_jax.errors import InputError
from bert_jax.tasks.base import Features
from bert_jax.tasks.class_losses import ClassLosses
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.train.state import init_state
from bert_jax.train.step import make_train_step

KEY = jax.random.key(0)
NAMES = ['a', 'b', 'c']
LABELS = [*'aaab', *'bbaa', *'cccc', *'aaaa']
WEIGHTS = [16 / (3 * 9), 16 / (3 * 3), 16 / (3 * 4)]


def log_softmax(logits):
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_numbers():
  """Against the formulas of the sources, with a row that does not count."""
  rng = np.random.default_rng(0)
  first, second = rng.normal(0, 2, (2, 6, 3))
  labels, counts = np.array([0, 2, 1, 1, 0, 2]), np.array([1, 1, 1, 1, 1, 0])
  weights = np.array([0.5, 1.0, 4.0])
  nll, p = 0.0, [log_softmax(first), log_softmax(second)]
  for log_p in p:
    target = 0.9 * np.eye(3)[labels] + 0.1 / 3
    nll = nll - (target * log_p).sum(-1) / 2
  apart = sum(
    (np.exp(one) * (one - other)).sum(-1) / 2 for one, other in (p, p[::-1])
  )
  share = weights[labels] * counts
  losses, metrics = ClassLosses(
    label_smoothing=0.1, class_weights=weights.tolist(), r_drop=1.0
  )(
    {'labels': jnp.array(labels), 'label_weights': jnp.array(counts, float)},
    jnp.array(first, jnp.float32),
    jnp.array(second, jnp.float32),
  )
  expected = {
    'classification_loss': (nll * share).sum(),
    'r_drop_loss': (apart * share).sum(),
  }
  assert losses.keys() == expected.keys()
  for name, total in expected.items():
    np.testing.assert_allclose(losses[name], (total, 5), rtol=1e-5)
  right = (np.argmax(first, -1) == labels) & (counts > 0)
  np.testing.assert_allclose(metrics['accuracy'], (right.sum(), 5))


def config(**fields):
  return ClassificationConfig(train_path='a.tsv', **fields)


def examples():
  count = len(LABELS)
  return Examples(
    columns={'texts': [('x',)] * count, 'labels': LABELS},
    origins=[''] * count,
  )


def one_step(task, **options):
  """(metrics, the gradients) of one step of 16 examples."""
  model = toys.model(task, dropout=0.1, num_layers=1)
  batch = toys.batch(16, 32) | {
    'labels': jnp.array([NAMES.index(label) for label in LABELS]),
    'label_weights': jnp.ones(16),
  }
  params, optimizer = model.init(KEY), optax.scale(1.0)
  step = make_train_step(task, model, optimizer, lambda step: 1.0, **options)
  state = init_state(params, optimizer, keep_best=False)
  quick = {'xla_backend_optimization_level': '0'}
  after, metrics = jax.jit(step, compiler_options=quick)(state, {}, batch, KEY)
  return metrics, jax.tree.map(jnp.subtract, after.params, params)


def test_a_step_adds_up_its_losses_in_microbatches_too():
  chosen = config(r_drop=0.5, class_weights='balanced', label_smoothing=0.1)
  facts = chosen.fit(examples())
  np.testing.assert_allclose(facts['class_weights'], WEIGHTS)
  task = chosen.build(toys.table(), facts)
  # A model with the same classes is of the same task, and goes on as it is.
  assert task.facts == {'labels': NAMES}
  metrics, gradients = whole = one_step(task)
  loss, apart = (
    float(jnp.divide(*metrics['sums'][name]))
    for name in ('classification_loss', 'r_drop_loss')
  )
  assert apart > 1e-4
  assert float(metrics['loss']) == pytest.approx(loss + 0.5 * apart, rel=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6, rtol=1e-4),
    one_step(task, num_microbatches=4),
    whole,
  )


def test_figures_depend_on_no_option():
  part = examples()
  figures = []
  options = dict(r_drop=1.0, label_smoothing=0.3, class_weights='balanced')
  for fields in ({}, options):
    chosen = config(**fields)
    task = chosen.build(toys.table(), chosen.fit(part))
    predictions = np.log(np.tile(np.float32([0.2, 0.5, 0.3]), (16, 1)))
    found = task.decode(predictions, Features(rows={}, cut={}))
    figures.append(task.score(found, part))
  assert figures[0] == figures[1]
  line = 'train: an example weighs 0.593 to 1.78, by its class'
  assert line in task.about('train', part).lines


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(label_smoothing=1.0), r'task.label_smoothing is 1.0; it must be in'),
    (dict(class_weights='even'), 'task.class_weights is .even.; choose'),
    (dict(r_drop=-1.0), 'task.r_drop is -1.0; it must be 0'),
    (dict(r_drop=1.0), 'dropout is 0, and nothing else tells the two passes'),
  ],
)
def test_other_values_are_refused(fields, message):
  experiment = tuning(config(**fields), tokenizer='vocab.txt', dropout=0.0)
  with pytest.raises(InputError, match=message):
    experiment.validate()
