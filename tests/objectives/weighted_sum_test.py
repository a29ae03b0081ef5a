"""Sums: each loss as alone, one pass where it can be, accumulation exact."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest
import toys

from bert_jax.config.codec import check_unchanged, decode, encode
from bert_jax.errors import InputError
from bert_jax.models.encoder import Encoder
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.objectives.sentence_pairs import SentencePairsConfig
from bert_jax.objectives.weighted_sum import WeightedSumConfig
from bert_jax.train.state import init_state
from bert_jax.train.step import make_train_step

KEY = jax.random.key(0)
BERT = WeightedSumConfig(objectives=(MaskedLMConfig(), SentencePairsConfig()))
ALL = WeightedSumConfig(
  objectives=(
    SentencePairsConfig(),
    MaskedLMConfig(selection='span'),
    ReplacedTokenConfig(),
  ),
  weights=(2.0, 1.0, 0.5),
)


def sums(objective, batch, params, model):
  @jax.jit
  def run(params, batch):
    module = model.bind(params)
    prepared = objective.prepare(batch, KEY)
    encoded = objective.encode(module, prepared, None)
    losses, metrics = objective.losses(module, encoded, None)
    return losses | metrics, objective.weights(prepared)

  return run(params, batch)


def test_masked_lm_in_a_sum_is_masked_lm_alone():
  batch = toys.pair_batch(8, 32)
  together = BERT.build(toys.table())
  model = toys.model(together, num_layers=1)
  params = toys.params(model)
  found, weights = sums(together, batch, params, model)
  alone, _ = sums(MaskedLMConfig().build(toys.table()), batch, params, model)
  for name, pair in alone.items():
    np.testing.assert_array_equal(found.pop(name), pair)
  assert found.keys() == {'next_sentence_loss', 'next_sentence_accuracy'}
  assert weights['next_sentence_loss'] == found['next_sentence_loss'][1] == 12


def test_pairs_of_a_sum_are_those_of_the_corrupted_rows():
  batch = toys.pair_batch(8, 32)

  @jax.jit
  def prepared(batch):
    return [
      config.build(toys.table()).prepare(batch, KEY)
      for config in (BERT, *BERT.objectives)
    ]

  seen, masked, clean = prepared(batch)
  assert np.any(seen['input_ids'] != batch['input_ids'])
  assert seen.keys() == masked.keys() | clean.keys()
  for name, array in (clean | masked).items():
    np.testing.assert_array_equal(seen[name], array)


@pytest.mark.parametrize('config, passes', [(BERT, 1), (ALL, 2)])
def test_passes_of_the_encoder(config, passes, monkeypatch):
  objective = config.build(toys.table())
  model = toys.model(objective)
  calls = []
  run = Encoder.__call__
  monkeypatch.setattr(
    Encoder, '__call__', lambda *args: calls.append(1) or run(*args)
  )
  params = model.abstract_params()
  jax.eval_shape(
    lambda params: sums(objective, toys.pair_batch(8, 32), params, model),
    params,
  )
  assert len(calls) == passes


def test_accumulation_equals_one_batch():
  """Rows have unequal shares of each of the three weights."""
  config = WeightedSumConfig(
    objectives=(
      SentencePairsConfig(),
      ReplacedTokenConfig(),
    ),
    weights=(2.0, 0.5),
  )
  objective = config.build(toys.table())
  model = toys.model(objective, num_layers=1)
  # Parameters then move by the gradient itself.
  optimizer = optax.identity()
  params = toys.params(model)
  batch = toys.pair_batch(16, 32)
  state = init_state(params, optimizer, keep_best=False)

  def step(state, num_microbatches):
    after, metrics = make_train_step(
      objective,
      model,
      optimizer,
      lambda step: 1.0,
      num_microbatches=num_microbatches,
    )(state, {}, batch, KEY)
    return metrics, after.params

  # It runs once: compiling is what takes time.
  both = jax.jit(
    lambda state: (step(state, 1), step(state, 4)),
    compiler_options={'xla_backend_optimization_level': '0'},
  )
  one, four = jax.device_get(both(state))
  assert one[0]['sums'].keys() >= {'replaced_recall', 'masked_accuracy'}
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5),
    one,
    four,
  )
  losses = one[0]['sums']
  whole = sum(
    c * losses[name][0] / losses[name][1]
    for name, c in objective.coefficients.items()
  )
  assert one[0]['loss'] == pytest.approx(float(whole), rel=1e-5)


def test_names_that_are_taken_end_in_a_number():
  assert ALL.build(toys.table()).coefficients == {
    'next_sentence_loss': 2.0,
    'mlm_loss': 1.0,
    'mlm_loss_3': 0.5,
    'replaced_loss_3': 25.0,
  }


def test_config_in_and_out_of_json():
  text = json.dumps(encode(ALL))
  back = decode(json.loads(text), where='config.json')
  assert back == ALL
  other = dataclasses.replace(ALL, weights=(2.0, 1.0, 2.0))
  with pytest.raises(InputError, match='weights: .* -> '):
    check_unchanged(back, other, ())


def test_flops_are_those_of_the_passes():
  config = toys.encoder_config()
  mlm = MaskedLMConfig().build(toys.table()).flops_per_row(config, 32)
  assert BERT.build(toys.table()).flops_per_row(config, 32) == mlm
  pairs = SentencePairsConfig().build(toys.table()).flops_per_row(config, 32)
  assert 0 < pairs < mlm
  replaced = ReplacedTokenConfig().build(toys.table())
  # A generator with its head, and the head of the encoder: 32 x 16 x 17.
  assert replaced.flops_per_row(config, 32) > pairs + 6 * 32 * 16 * 17


@pytest.mark.parametrize(
  'config, message',
  [
    (WeightedSumConfig(objectives=()), r'objective\.objectives is empty'),
    (
      dataclasses.replace(BERT, weights=(1.0,)),
      r'objective\.weights has 1 entries for 2 objectives',
    ),
    (
      dataclasses.replace(BERT, weights=(1.0, float('nan'))),
      r'objective\.weights\[1\] is nan',
    ),
    (
      WeightedSumConfig(
        objectives=(BERT, ReplacedTokenConfig(mlm=MaskedLMConfig(mask_rate=2)))
      ),
      r'objective\.objectives\[1\]\.mlm\.mask_rate is 2',
    ),
  ],
)
def test_bad_config_names_the_field(config, message):
  with pytest.raises(InputError, match=message):
    config.validate()


@pytest.mark.parametrize(
  'objectives, message',
  [
    (
      (SentencePairsConfig(), SentencePairsConfig(kind='sentence_order')),
      r'need pairs of 2 kinds \(next_sentence, sentence_order\)',
    ),
    (
      (ReplacedTokenConfig(), ReplacedTokenConfig(generator_width=0.5)),
      'two of them have a generator of their own',
    ),
  ],
)
def test_objectives_that_do_not_go_together(objectives, message):
  config = WeightedSumConfig(objectives=objectives)
  config.validate()
  with pytest.raises(InputError, match=message):
    config.build(toys.table()).heads()
