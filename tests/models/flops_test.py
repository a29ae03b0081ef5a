"""FLOPs of a row, against a count by hand and against XLA's own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from bert_jax.models.config import bert_base
from bert_jax.models.flops import flops_per_row, tuning_flops_per_row
from bert_jax.models.functional import flatten
from bert_jax.models.heads import model_with_heads
from bert_jax.models.masks import RowLayout
from bert_jax.peft.lora import LoRAConfig


def test_bert_base():
  """Twelve layers of 4 D^2 + 2 D F a token and 2 T^2 D a row, and the head."""
  layer = 512 * (4 * 768**2 + 2 * 768 * 3072) + 2 * 512**2 * 768
  head = 77 * (768**2 + 768 * 30522)
  expected = 6 * (12 * layer + head)
  assert flops_per_row(bert_base(vocab_size=30522), 512, 77) == expected


def test_the_head_of_narrow_embeddings_and_a_filled_vocabulary():
  config = toys.family_config('electra', vocab_multiple=16)
  per_token = flops_per_row(config, 32, 1) - flops_per_row(config, 32, 0)
  assert per_token == 6 * (16 * 24 + 24 * 64)


@pytest.mark.parametrize('window', [2, 8, 62, 200])
def test_pairs_of_a_window(window):
  config = toys.family_config('modernbert', local_window=window)
  wide = dataclasses.replace(config, global_every=1)
  column = np.arange(32)
  pairs = np.sum(np.abs(column[:, None] - column) <= window // 2)
  missing = 2 * (32 * 32 - pairs) * 2 * 16  # two layers of four are local
  found = flops_per_row(wide, 32, 0) - flops_per_row(config, 32, 0)
  assert found == 6 * missing


@pytest.mark.parametrize('family', toys.FAMILIES)
def test_the_forward_pass_has_as_many_as_xla_counts(family):
  """Of sizes where products outweigh all else; attention without a window."""
  sizes = dict(embed_dim=128, num_heads=2, mlp_dim=256, num_layers=2)
  config = toys.family_config(family, **sizes, global_every=1)
  model = model_with_heads(config, {}, 'float32')
  layout = RowLayout(*[jax.ShapeDtypeStruct((1, 128), jnp.int32)] * 3)

  def forward(params, layout):
    return model.bind(params).encoder(layout.segment_ids, layout)

  lowered = jax.jit(forward).lower(model.abstract_params(), layout)
  counted = lowered.cost_analysis()['flops']
  ours = flops_per_row(config, 128, 0) / 3
  assert ours < counted < 1.1 * ours


@pytest.mark.parametrize('family', toys.FAMILIES)
def test_training_everything_is_three_times_the_forward_pass(family):
  config = toys.family_config(family)
  model = model_with_heads(config, {}, 'float32')
  found = tuning_flops_per_row(model, model.infos.keys(), 32)
  assert found == flops_per_row(config, 32, 0)


def test_frozen_matrices_have_no_gradients():
  """Two layers of width 8, two heads, a feed-forward width of 16; 10 tokens."""
  sizes = dict(num_layers=2, embed_dim=8, num_heads=2, mlp_dim=16)
  config = toys.encoder_config(**sizes)
  matrices, attention = 4 * 8 * 8 + 2 * 8 * 16, 2 * 10 * 10 * 8
  layer = 2 * (10 * matrices + attention)  # forward

  plain = model_with_heads(config, {}, 'float32')
  top = {path for path in plain.infos if path.startswith('encoder/layers/1/')}
  assert tuning_flops_per_row(plain, top, 10) == layer + 3 * layer
  biases = {path for path in top if path.endswith('bias')}
  weights = 2 * 10 * matrices
  found = tuning_flops_per_row(plain, biases, 10)
  assert found == layer + 3 * layer - weights

  model = LoRAConfig(rank=3).build().extend(plain)
  factors = {path for path in model.infos if path.startswith('lora/')}
  correction = 2 * 10 * (8 * 3 + 3 * 8)  # two a layer, forward
  found = tuning_flops_per_row(model, factors, 10)
  assert found == 2 * (3 * layer - weights) + 3 * 4 * correction


@pytest.mark.parametrize('targets', [('query', 'value'), ('all_linear',)])
@pytest.mark.parametrize('family', ['distilbert', 'albert', 'modernbert'])
def test_a_step_of_lora_has_as_many_as_xla_counts(family, targets):
  """XLA, unlike us, leaves out the gradient at the first layer's input."""
  sizes = dict(embed_dim=128, num_heads=2, mlp_dim=256, num_layers=6)
  config = toys.family_config(family, **sizes, global_every=1)
  method = LoRAConfig(rank=8, targets=targets).build()
  model = method.extend(model_with_heads(config, {}, 'float32'))
  trainable, frozen = method.split(model.abstract_params(), model.infos)
  layout = RowLayout(*[jax.ShapeDtypeStruct((1, 128), jnp.int32)] * 3)

  def loss(trainable, frozen, layout):
    encoder = model.bind(method.join(trainable, frozen)).encoder
    return jnp.sum(encoder(layout.segment_ids, layout))

  lowered = jax.jit(jax.grad(loss)).lower(trainable, frozen, layout)
  counted = lowered.cost_analysis()['flops']
  ours = tuning_flops_per_row(model, flatten(trainable).keys(), 128)
  assert 0.95 * ours < counted < 1.15 * ours
