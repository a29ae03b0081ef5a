"""Replaced tokens: what is drawn, what counts as replaced, what learns."""

import jax
import numpy as np
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding

CONFIG = ReplacedTokenConfig(
  mlm=MaskedLMConfig(mask_rate=0.4, mask_share=0.85, random_share=0.0),
  generator_width=0.5,
)
OBJECTIVE = CONFIG.build(toys.table())
MODEL = toys.model(OBJECTIVE, embedding_size=8, num_layers=1)


@pytest.fixture(scope='module')
def params():
  return toys.params(MODEL)


@pytest.fixture(scope='module')
def batch():
  return toys.batch(64, 32)


@jax.jit
def encode(params, batch, seed):
  prepared = OBJECTIVE.prepare(batch, jax.random.key(seed))
  return OBJECTIVE.encode(MODEL.bind(params), prepared, None)


@jax.jit
def sums(params, encoded):
  return OBJECTIVE.losses(MODEL.bind(params), encoded, None)


def with_distribution(params, logits_V):
  """The generator then has these logits at every place."""
  params = jax.tree.map(lambda x: x, params)
  head = params['generator']['mlm_head']
  head['norm'] = jax.tree.map(np.zeros_like, head['norm'])
  head['bias'] = np.asarray(logits_V, np.float32)
  return params


def test_only_masked_places_are_drawn(params, batch):
  found = jax.device_get(encode(params, batch, 0))
  clean, shown = np.asarray(batch['input_ids']), found['input_ids']
  np.testing.assert_array_equal(found['clean_ids'], clean)
  np.testing.assert_array_equal(found['is_replaced'], shown != clean)
  row, place = np.nonzero(found['masked_weights'])
  masked = np.zeros_like(clean, bool)
  masked[row, found['masked_positions'][row, place]] = True
  assert not np.any(found['is_replaced'] & ~masked)
  assert found['is_replaced'].sum() > 0.7 * masked.sum()
  np.testing.assert_array_equal(found['token_weights'], clean >= 5)


def test_tokens_are_drawn_from_the_softmax(params, batch):
  logits = np.where(np.arange(toys.VOCAB_SIZE) < 25, -1e9, 0.0)
  logits += np.arange(toys.VOCAB_SIZE) * 0.05
  found = jax.device_get(encode(with_distribution(params, logits), batch, 0))
  row, place = np.nonzero(found['masked_weights'])
  drawn = found['input_ids'][row, found['masked_positions'][row, place]]
  counts = np.bincount(drawn, minlength=toys.VOCAB_SIZE)
  assert counts[:25].sum() == 0
  share = np.exp(logits[25:])
  expected = counts.sum() * share / share.sum()
  assert expected.min() > 8
  # Chi-square with 24 degrees of freedom: above 60 once in 10,000 draws.
  assert np.sum((counts[25:] - expected) ** 2 / expected) < 60


def test_the_text_s_own_token_is_not_replaced(params, batch):
  logits = np.where(np.arange(toys.VOCAB_SIZE) == 7, 0.0, -1e9)
  found = jax.device_get(encode(with_distribution(params, logits), batch, 0))
  row, place = np.nonzero(found['masked_weights'])
  position = found['masked_positions'][row, place]
  assert np.all(found['input_ids'][row, position] == 7)
  true = found['masked_ids'][row, place]
  assert np.any(true == 7)
  np.testing.assert_array_equal(found['is_replaced'][row, position], true != 7)


def test_figures(params, batch):
  encoded = encode(params, batch, 0)
  losses, metrics = jax.device_get(sums(params, encoded))
  module = MODEL.bind(params)
  logits = np.asarray(module.replaced_token_head(encoded['hidden_states']))
  asked = np.asarray(batch['input_ids']) >= 5
  true = np.asarray(encoded['is_replaced'])[asked]
  probability = 1 / (1 + np.exp(-logits[asked].astype(np.float64)))
  nll = -np.log(np.where(true, probability, 1 - probability))
  guess = logits[asked] > 0
  assert 0 < guess.sum() < len(guess)
  expected = {
    'replaced_accuracy': (np.sum(guess == true), len(true)),
    'replaced_precision': (np.sum(guess & true), guess.sum()),
    'replaced_recall': (np.sum(guess & true), true.sum()),
  }
  for name, pair in expected.items():
    np.testing.assert_allclose(metrics[name], pair)
  np.testing.assert_allclose(
    losses['replaced_loss'], (nll.sum(), len(true)), rtol=1e-4
  )
  weights = OBJECTIVE.weights(encoded)
  assert weights.keys() == losses.keys() == OBJECTIVE.coefficients.keys()
  for name, (_, weight) in losses.items():
    assert weights[name] == weight
  assert metrics['masked_accuracy'][1] == weights['mlm_loss']
  assert OBJECTIVE.coefficients['replaced_loss'] == 50.0


def test_nothing_is_learned_through_the_draw(params, batch):

  @jax.jit
  def gradients(params):
    def losses(params):
      module = MODEL.bind(params)
      prepared = OBJECTIVE.prepare(batch, jax.random.key(0))
      encoded = OBJECTIVE.encode(module, prepared, None)
      found, _ = OBJECTIVE.losses(module, encoded, None)
      return found['mlm_loss'][0], found['replaced_loss'][0]

    _, pull_back = jax.vjp(losses, params)
    return pull_back((1.0, 0.0))[0], pull_back((0.0, 1.0))[0]

  def largest(tree):
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree))

  of_mlm, of_replaced = gradients(params)
  assert largest(of_replaced['generator']) == 0
  assert largest(of_replaced['encoder']['layers']) > 0
  assert largest(of_mlm['generator']) > 0
  assert largest(of_mlm['encoder']['layers']) == 0
  # The tables are those of both.
  for grads in (of_replaced, of_mlm):
    assert largest(grads['encoder']['embeddings']['token']) > 0


def test_the_generator_has_no_tables_of_its_own(params):
  paths = functional.flatten(params['generator']).keys()
  assert {path.split('/')[0] for path in paths} == {'layers', 'mlm_head'}
  wide = CONFIG.build(toys.table())
  wide.config = ReplacedTokenConfig(generator_width=1.0)
  narrow_tables = toys.model(wide, embedding_size=8).abstract_params()
  assert narrow_tables['generator']['projection']['kernel'].shape == (8, 16)


@pytest.mark.parametrize('num_devices', [2, 8])
def test_draws_are_equal_on_any_number_of_devices(params, batch, num_devices):
  expected = jax.device_get(encode(params, batch, 0))
  mesh = MeshConfig().build(jax.devices()[:num_devices])
  with jax.set_mesh(mesh):
    placed = jax.device_put(batch, batch_sharding(mesh))
    found = jax.device_get(encode(params, placed, 0))
  for name in ('input_ids', 'is_replaced', 'masked_positions', 'sample_keys'):
    np.testing.assert_array_equal(found[name], expected[name])


def test_draws_depend_on_key_and_example_number_alone(params, batch):
  ids = np.asarray(encode(params, batch, 0)['input_ids'])
  turned = {name: array[::-1] for name, array in batch.items()}
  found = np.asarray(encode(params, turned, 0)['input_ids'])
  np.testing.assert_array_equal(found[::-1], ids)
  assert np.any(np.asarray(encode(params, batch, 1)['input_ids']) != ids)


@pytest.mark.parametrize(
  'field, value',
  [
    ('generator_width', 0.0),
    ('generator_width', float('nan')),
    ('replaced_weight', -1.0),
    ('mlm.mask_rate', 1.0),
    ('mlm.selection', 'x'),
  ],
)
def test_bad_config_names_the_field(field, value):
  config = ReplacedTokenConfig()
  holder, _, name = field.rpartition('.')
  setattr(config.mlm if holder else config, name, value)
  with pytest.raises(InputError, match=rf'objective\.{field} is'):
    config.validate()
