"""FLOPs of a row, against a count by hand and against XLA's own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from bert_jax.models.config import bert_base
from bert_jax.models.flops import flops_per_row
from bert_jax.models.heads import model_with_heads
from bert_jax.models.masks import RowLayout


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
