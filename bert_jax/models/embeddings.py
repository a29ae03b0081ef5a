"""Token, position and token-type embeddings, summed and normalised."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.models.config import EncoderConfig
from bert_jax.models.dropout import dropout
from bert_jax.models.layers import (
  Dense,
  Embedding,
  LayerNorm,
  residual_dtype,
  set_depth,
)
from bert_jax.models.masks import RowLayout


class Embeddings(nnx.Module):
  """Maps input_ids [B, T] and their layout to [B, T, D].

  If the tables are narrower than the layers, a projection comes last, after
  norm and dropout, as in ALBERT and ELECTRA.
  """

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    common = dict(stddev=config.initializer_stddev, rngs=rngs)
    dim = config.table_dim
    self.token = Embedding(
      config.table_size, dim, entries_axis='vocab', **common
    )
    num_positions = config.max_positions + config.position_offset
    self.position = (
      Embedding(num_positions, dim, entries_axis='position', **common)
      if config.positions == 'learned'
      else None
    )
    self.position_offset = config.position_offset
    self.token_type = (
      Embedding(config.num_token_types, dim, entries_axis=None, **common)
      if config.num_token_types
      else None
    )
    self.num_token_types = config.num_token_types
    self.norm = LayerNorm(
      dim,
      use_bias=config.use_bias,
      epsilon=config.norm_epsilon,
      dtype=residual_dtype(config, dtype),
      size='table',
    )
    self.dropout_rate = config.dropout
    self.projection = embedding_projection(config, dtype=dtype, rngs=rngs)
    set_depth(self, 0)

  def __call__(
    self,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    dropout_seeds_B: jax.Array | None = None,
    token_delta_BTE: jax.Array | None = None,
  ) -> jax.Array:
    """Embeds the tokens; `token_delta_BTE` is added to their vectors."""
    x_BTE = self.from_tables(
      input_ids_BT, layout, dropout_seeds_B, token_delta_BTE
    )
    if self.projection is None:
      return x_BTE
    return self.projection(x_BTE, dropout_seeds_B)

  def from_tables(
    self,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    dropout_seeds_B: jax.Array | None = None,
    token_delta_BTE: jax.Array | None = None,
  ) -> jax.Array:
    """The embeddings before projection, [B, T, E], which encoders may share."""
    x_BTE = self.token(input_ids_BT)
    if token_delta_BTE is not None:
      x_BTE += token_delta_BTE
    if self.position is not None:
      position_ids_BT = layout.position_ids
      if self.position_offset:
        position_ids_BT = position_ids_BT + self.position_offset
      x_BTE += self.position(position_ids_BT)
    if self.token_type is not None:
      token_type_ids_BT = layout.token_type_ids
      if self.num_token_types == 1:
        token_type_ids_BT = jnp.zeros_like(token_type_ids_BT)
      x_BTE += self.token_type(token_type_ids_BT)
    return dropout(self.norm(x_BTE), self.dropout_rate, dropout_seeds_B)


def embedding_projection(
  config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
) -> Dense | None:
  """The projection from tables to layers; None if their widths are equal."""
  if config.table_dim == config.embed_dim:
    return None
  return Dense(
    (config.table_dim,),
    (config.embed_dim,),
    in_axes=(None,),
    out_axes=('embed',),
    in_sizes=('table',),
    kind='projection',
    use_bias=config.use_bias,
    stddev=config.initializer_stddev,
    dtype=dtype,
    rngs=rngs,
  )
