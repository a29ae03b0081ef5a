"""Token, position and token-type embeddings, summed and normalised."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.models.config import EncoderConfig
from bert_jax.models.dropout import dropout
from bert_jax.models.layers import Embedding, LayerNorm
from bert_jax.models.masks import RowLayout


class Embeddings(nnx.Module):
  """input_ids [B, T] and their layout -> [B, T, D]."""

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    common = dict(stddev=config.initializer_stddev, rngs=rngs)
    dim = config.embed_dim
    self.token = Embedding(
      config.vocab_size, dim, entries_axis='vocab', **common
    )
    self.position = Embedding(
      config.max_positions, dim, entries_axis='position', **common
    )
    self.token_type = Embedding(
      config.num_token_types, dim, entries_axis=None, **common
    )
    self.norm = LayerNorm(dim, epsilon=config.norm_epsilon, dtype=dtype)
    self.dropout_rate = config.dropout

  def __call__(
    self,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    dropout_seeds_B: jax.Array | None = None,
  ) -> jax.Array:
    x_BTD = (
      self.token(input_ids_BT)
      + self.position(layout.position_ids)
      + self.token_type(layout.token_type_ids)
    )
    return dropout(self.norm(x_BTD), self.dropout_rate, dropout_seeds_B)
