"""Rematerialisation and the loop over layers: the numbers of plain layers."""

import functools

import jax
import numpy as np
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.models.attention.blocked import BlockedAttention
from bert_jax.models.dropout import row_seeds
from bert_jax.models.execution import LayerExecution
from bert_jax.models.functional import flatten
from bert_jax.models.heads import model_with_heads
from bert_jax.objectives.mlm import MaskedLMConfig

OBJECTIVE = MaskedLMConfig().build(toys.table())
BATCH = OBJECTIVE.prepare(toys.batch(4, 40), jax.random.key(0))
DROPOUT = dict(dropout=0.1, attention_dropout=0.1)
# ModernBERT has its first layer, two rounds of three, and one layer more.
CONFIGS = {
  'bert': toys.encoder_config(num_layers=3, max_positions=40, **DROPOUT),
  'albert': toys.family_config('albert', num_layers=3, **DROPOUT),
  'modernbert': toys.family_config('modernbert', num_layers=8, **DROPOUT),
}


def loss_of(config, execution, params):
  model = model_with_heads(
    config, OBJECTIVE.heads(), 'float32', execution=execution
  )
  module = model.bind(params)
  numbers = toys.batch(4, 40)['example_number']
  seeds_B = row_seeds(jax.random.key(1), numbers)
  encoded = OBJECTIVE.encode(module, BATCH, seeds_B)
  losses, _ = OBJECTIVE.losses(module, encoded, seeds_B)
  return sum(total for total, _ in losses.values())


@functools.cache
def computed(family, execution):
  config = CONFIGS[family]
  model = model_with_heads(config, OBJECTIVE.heads(), 'float32')
  return jax.jit(
    jax.value_and_grad(functools.partial(loss_of, config, execution))
  )(toys.params(model))


@pytest.mark.parametrize('scan_layers', [False, True])
@pytest.mark.parametrize('remat', ['none', 'dots', 'attention', 'full'])
@pytest.mark.parametrize('family', CONFIGS)
def test_numbers_do_not_depend_on_the_execution(family, remat, scan_layers):
  """Loss and gradients, with dropout, to the rounding of f32."""
  execution = LayerExecution(remat=remat, scan_layers=scan_layers)
  loss, gradients = computed(family, execution)
  expected_loss, expected = computed(family, LayerExecution())
  np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
  found, expected = flatten(gradients), flatten(expected)
  # The gradient of the biases of keys is 0 but for rounding.
  largest = max(np.abs(gradient).max() for gradient in expected.values())
  for name, gradient in expected.items():
    np.testing.assert_allclose(
      found[name], gradient, rtol=1e-4, atol=1e-6 * largest, err_msg=name
    )


def test_a_loop_is_compiled_once_for_any_number_of_layers():
  def num_products(num_layers, execution) -> int:
    config = toys.encoder_config(num_layers=num_layers, max_positions=40)
    model = model_with_heads(config, OBJECTIVE.heads(), 'float32')
    step = jax.jit(
      jax.grad(functools.partial(loss_of, config, execution))
    ).lower(model.abstract_params())
    return step.as_text().count('stablehlo.dot_general')

  loop = LayerExecution(scan_layers=True)
  assert num_products(12, loop) == num_products(2, loop)
  assert num_products(12, LayerExecution()) > 5 * num_products(2, loop)


def test_kept_attention_is_not_computed_again():
  """Its forward loops are there once, and again if nothing is kept."""

  def num_loops(remat) -> int:
    execution = LayerExecution((BlockedAttention(block_size=16),), remat)
    model = model_with_heads(
      CONFIGS['bert'], OBJECTIVE.heads(), 'float32', execution=execution
    )
    loss = functools.partial(loss_of, CONFIGS['bert'], execution)
    lowered = jax.jit(jax.grad(loss)).lower(model.abstract_params())
    return lowered.as_text().count('stablehlo.while')

  assert num_loops('attention') == num_loops('dots') == num_loops('none')
  # Two loops, over queries and keys, in each layer.
  more = 2 * CONFIGS['bert'].num_layers
  assert num_loops('full') == num_loops('none') + more


def test_the_less_is_saved_the_less_memory():
  """Arrays that the forward pass of 24 layers leaves for the backward pass."""

  def memory(remat) -> int:
    config = toys.encoder_config(num_layers=24, max_positions=40)
    model = model_with_heads(config, OBJECTIVE.heads(), 'float32')
    loss = functools.partial(
      loss_of, config, LayerExecution(remat=remat, scan_layers=True)
    )
    compiled = jax.jit(jax.grad(loss)).lower(model.abstract_params()).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  sizes = [memory(remat) for remat in ('none', 'dots', 'attention', 'full')]
  assert sizes == sorted(sizes, reverse=True)
  assert sizes[-1] < sizes[0] / 3


def test_an_unknown_word_is_refused():
  with pytest.raises(
    InputError, match="remat is 'dot'; choose none, dots, attention, full"
  ):
    LayerExecution(remat='dot').validate()
