"""LoRA as a method: its matrices, what it adds, merging, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.models.heads import model_with_heads
from bert_jax.peft.lora import LoRAConfig
from bert_jax.tasks.classification import ClassificationConfig

TASK = ClassificationConfig().build(toys.table(), {'labels': ['a', 'b', 'c']})
KEY = jax.random.key(0)
CONFIGS = {'bert': toys.encoder_config(max_positions=128)} | {
  family: toys.family_config(family) for family in toys.FAMILIES
}


def plain_model(family):
  return model_with_heads(CONFIGS[family], TASK.heads(), 'float32')


def extended(family, **fields):
  """(the method, the extended model, its parameters, B drawn as well)."""
  method = LoRAConfig(rank=3, alpha=6.0, **fields).build()
  model = method.extend(plain_model(family))
  params = model.init(KEY)
  params['lora'] = jax.tree_util.tree_map_with_path(
    lambda path, leaf: jax.random.normal(
      jax.random.fold_in(KEY, len(str(path))), leaf.shape
    ),
    params['lora'],
  )
  return method, model, params


def outputs(model, params):
  batch = TASK.prepare(toys.batch(4, 32), KEY)
  return jax.jit(
    lambda params: TASK.predict(model.bind(params), batch),
    compiler_options={'xla_backend_optimization_level': '0'},
  )(params)


@pytest.mark.parametrize('family', CONFIGS)
def test_merged_parameters_give_the_same_outputs(family):
  """Merging in every family, with every matrix of the encoder corrected."""
  method, model, params = extended(family, targets=('all_linear',))
  merged = method.merge(params)
  plain = plain_model(family)
  assert functional.flatten(merged).keys() == plain.infos.keys()
  joined = outputs(model, params)
  np.testing.assert_allclose(outputs(plain, merged), joined, atol=2e-5)
  base = {name: part for name, part in params.items() if name != 'lora'}
  assert np.abs(outputs(plain, base) - joined).max() > 0.01
  kernels = {
    f'lora/{path.rpartition("/")[0]}'
    for path, info in plain.infos.items()
    if path.startswith('encoder/') and path.endswith('/kernel')
  }
  factors = functional.flatten({'lora': params['lora']})
  assert {path.rpartition('/')[0] for path in factors} == kernels


@pytest.mark.parametrize('family', CONFIGS)
def test_query_and_value_by_default(family):
  model = LoRAConfig().build().extend(plain_model(family))
  own = [path for path in model.infos if path.startswith('lora/')]
  assert {path.split('/')[-2] for path in own} == {'query', 'value'}
  config = CONFIGS[family]
  num_layers = 1 if config.share_layers else config.num_layers
  assert len(own) == 4 * num_layers
  assert model.infos.keys() == functional.flatten(model.init(KEY)).keys()


def test_at_first_nothing_is_added():
  method = LoRAConfig(dropout=0.5).build()
  plain = plain_model('bert')
  params = method.extend(plain).init(KEY)
  found = outputs(method.extend(plain), params)
  np.testing.assert_array_equal(found, outputs(plain, plain.init(KEY)))
  a = params['lora']['encoder']['layers']['0']['attention']['query']['a']
  bound = 16**-0.5
  assert 0.8 * bound < float(jnp.abs(a).max()) <= bound


def test_the_correction_is_that_of_the_paper():
  method, model, params = extended('bert', targets=('query',))
  path = ('encoder', 'layers', '0', 'attention', 'query')
  dense, factors = params, params['lora']
  for name in path:
    dense, factors = dense[name], factors[name]
  x = jax.random.normal(KEY, (2, 5, 16))
  module = model.bind(params).encoder.layers[0].attention.query
  expected = np.einsum('btd,dnh->btnh', x, dense['kernel']) + 2.0 * np.einsum(
    'btd,dr,rnh->btnh', x, factors['a'], factors['b']
  )
  np.testing.assert_allclose(module(x), expected, atol=1e-4)


def test_dropout_is_of_what_the_correction_reads():
  """Dropout masks differ from row to row, and leave the base alone."""
  _, model, params = extended('bert', targets=('query',), dropout=0.5)
  dense = model.bind(params).encoder.layers[0].attention.query
  x = jnp.ones((400, 1, 16))
  clean, seeds = dense(x), jnp.arange(400, dtype=jnp.uint32)
  dropped = dense(x, seeds)
  assert len(np.unique(np.asarray(dropped[:, 0, 0, 0]))) > 300
  np.testing.assert_array_equal(dropped, dense(x, seeds))
  spread = np.asarray(dropped - clean)[:, 0]
  error = spread.std(axis=0) / 20
  assert (np.abs(spread.mean(axis=0)) < 5 * error).all()


def test_the_encoder_is_frozen_and_heads_are_trained():
  method, model, params = extended('bert')
  trainable, frozen = method.split(params, model.infos)
  assert trainable.keys() == {'lora', 'pooler', 'classifier'}
  assert frozen.keys() == {'encoder'}
  assert method.join(trainable, frozen) == params


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(rank=0), 'peft.rank is 0; it must be 1 or more'),
    (dict(alpha=0.0), 'peft.alpha is 0.0; it must be above 0'),
    (dict(dropout=1.0), r'peft.dropout is 1.0; it must be in \[0, 1\)'),
    (dict(targets=('Wqkv',)), "peft.targets names 'Wqkv'; choose all_linear"),
  ],
  ids=str,
)
def test_what_cannot_be_is_refused(fields, message):
  with pytest.raises(InputError, match=message):
    LoRAConfig(**fields).validate()


def test_a_matrix_that_the_model_has_not_is_refused():
  method = LoRAConfig(targets=('query', 'mlp_gate')).build()
  with pytest.raises(InputError, match='names mlp_gate, which this model does'):
    method.extend(plain_model('bert'))


def test_targets_of_a_flag_are_one_text():
  config = LoRAConfig(targets=('query,mlp_output',))
  config.validate()
  assert config.targets == ('query', 'mlp_output')
