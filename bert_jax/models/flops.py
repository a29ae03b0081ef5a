"""Model FLOPs: the amount of arithmetic in a model.

Matrix products alone are counted, with two FLOPs per multiply-add, forward and
backward. Work that a backend repeats or skips makes no difference.
"""

import math
from collections.abc import Collection

from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.param_info import ENCODER_MATRICES


def flops_per_row(
  config: EncoderConfig, row_length: int, num_predicted: int
) -> float:
  """FLOPs of one row if all parameters are trained: 3 times the forward pass.

  The sum covers projections, feed-forward, attention over the whole row or the
  window, and `num_predicted` positions through the masked-LM head. A shared
  layer counts as often as it is applied.
  """
  dim, length, table_dim = config.embed_dim, row_length, config.table_dim
  kernels = 3 if config.gated else 2
  layer = length * (4 * dim * dim + kernels * dim * config.mlp_dim)
  projection = length * table_dim * dim if table_dim != dim else 0
  head = num_predicted * (dim * table_dim + table_dim * config.table_size)
  products = 6 * (config.num_layers * layer + projection + head)
  return products + attention_flops_per_row(config, length)


def attention_flops_per_row(config: EncoderConfig, row_length: int) -> int:
  """The part of `flops_per_row` for scores and for sums of values."""
  pairs = sum(
    _num_pairs(config, i, row_length) for i in range(config.num_layers)
  )
  return 12 * pairs * config.embed_dim


def tuning_flops_per_row(
  model: functional.Model, trainable: Collection[str], row_length: int
) -> float:
  """FLOPs of one row if only the parameters at `trainable` paths are trained.

  With T tokens, matrices W of the encoder and of corrections beside it, each
  applied to every token n_W times (1, except in shared layers), and P_i pairs
  of a query and a key in layer i, of width D, the sum is

    2 T sum(n_W |W|) + 4 D sum(P_i)      forward,
  + 2 T sum(n_W |W|) + 8 D sum(P_i)      backward to the activations, from the
                                         first layer with a trained parameter,
  + 2 T sum(n_W |W|)                     backward to W, if W is trained.

  Heads are left out. With everything trained it equals flops_per_row without
  predicted positions.
  """
  config = model.config
  shapes = functional.flatten(model.abstract_params())
  # Heads have no depth; they lie above all layers.
  depths = {
    path: config.num_layers + 1 if info.depth is None else info.depth
    for path, info in model.infos.items()
  }
  first = min(depths[path] for path in trainable)
  total = 0
  for path, info in model.infos.items():
    if info.kind not in ENCODER_MATRICES:
      continue
    is_shared = config.share_layers and depths[path] > 0
    times = row_length * (config.num_layers if is_shared else 1)
    passes = 1 + (depths[path] >= first) + (path in trainable)
    total += 2 * passes * times * math.prod(shapes[path].shape)
  for layer in range(config.num_layers):
    depth = 1 if config.share_layers else layer + 1
    passes = 3 if depth >= first else 1
    pairs = _num_pairs(config, layer, row_length)
    total += 4 * passes * config.embed_dim * pairs
  return total


def dense_flops(num_vectors: int, in_size: int, out_size: int) -> float:
  """FLOPs of training one dense layer on `num_vectors` vectors."""
  return 6.0 * num_vectors * in_size * out_size


def _num_pairs(config: EncoderConfig, layer: int, length: int) -> int:
  """Pairs of a query and a key in a layer, over a row of `length` tokens."""
  if config.is_global(layer):
    return length * length
  # The window is cut at the ends of a row.
  side = min(config.local_window // 2, length - 1)
  return length * (2 * side + 1) - side * (side + 1)
