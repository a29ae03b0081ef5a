"""Model FLOPs: the amount of arithmetic in a model.

Forward and backward passes are counted (three times the forward), matrix
products alone, with two FLOPs per multiply-add. Work that a backend repeats or
skips makes no difference.
"""

from bert_jax.models.config import EncoderConfig


def flops_per_row(
  config: EncoderConfig, row_length: int, num_predicted: int
) -> float:
  """FLOPs of one row.

  The sum covers projections, feed-forward, attention over the whole row or the
  window, and `num_predicted` positions through the masked-LM head. A shared
  layer counts as often as it is applied.
  """
  dim, length, table_dim = config.embed_dim, row_length, config.table_dim
  kernels = 3 if config.gated else 2
  layer = length * (4 * dim * dim + kernels * dim * config.mlp_dim)
  num_global = sum(config.is_global(i) for i in range(config.num_layers))
  # Pairs of a query and a key: the window is cut at the ends of a row.
  side = min(config.local_window // 2, length - 1)
  local_pairs = length * (2 * side + 1) - side * (side + 1)
  num_local = config.num_layers - num_global
  pairs = num_global * length * length + num_local * local_pairs
  projection = length * table_dim * dim if table_dim != dim else 0
  head = num_predicted * (dim * table_dim + table_dim * config.table_size)
  return 6 * (config.num_layers * layer + 2 * pairs * dim + projection + head)


def dense_flops(num_vectors: int, in_size: int, out_size: int) -> float:
  """FLOPs of one dense layer over `num_vectors` vectors."""
  return 6.0 * num_vectors * in_size * out_size
