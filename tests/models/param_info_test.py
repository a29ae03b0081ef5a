"""Declarations of the parameters of each family."""

import math

import pytest
import toys

from bert_jax.models import functional
from bert_jax.models.heads import model_with_heads
from bert_jax.models.heads_by_name import HEADS
from bert_jax.objectives.replaced_token import ReplacedTokenConfig

CONFIGS = {'bert': toys.encoder_config} | {
  family: lambda family=family: toys.family_config(family)
  for family in toys.FAMILIES
}


@pytest.mark.parametrize('family', CONFIGS)
def test_every_family_declares_kind_depth_and_inputs(family):
  config = CONFIGS[family]()
  heads = HEADS | ReplacedTokenConfig().build(toys.table()).heads()
  model = model_with_heads(config, heads, 'float32')
  shapes = functional.flatten(model.abstract_params())
  assert model.infos.keys() == shapes.keys()
  num_layers = 1 if config.share_layers else config.num_layers
  for kind in ('query', 'key', 'value', 'attention_output', 'mlp_input'):
    found = {
      path: info.depth
      for path, info in model.infos.items()
      if info.kind == kind and path.startswith('encoder/')
    }
    assert found == {
      path: number + 1
      for number in range(num_layers)
      for path in found
      if path.startswith(f'encoder/layers/{number}/')
    }
    assert len(found) == num_layers
  for path, info in model.infos.items():
    matrix = info.matrix_shape(shapes[path].shape)
    assert math.prod(matrix) == shapes[path].size
    is_vector = info.kind in ('scale', 'bias')
    assert len(matrix) == 1 if is_vector else len(matrix) == 2
    assert info.decays != is_vector
    if path.startswith('encoder/embeddings/'):
      assert info.depth == 0
    elif '/layers/' not in path and 'projection' not in path:
      # Heads, and the norm above the last layer.
      assert info.depth is None
  output = model.infos['encoder/layers/0/attention/output/kernel']
  assert output.num_in == 2 and output.matrix_shape((2, 8, 16)) == (16, 16)
