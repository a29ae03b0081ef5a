"""The position-wise feed-forward network: two projections around a GELU."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.models.config import EncoderConfig
from bert_jax.models.layers import Dense, gelu


class FeedForward(nnx.Module):
  """[B, T, D] -> [B, T, F] -> exact GELU -> [B, T, D]."""

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    embed, mlp = (config.embed_dim,), (config.mlp_dim,)
    common = dict(stddev=config.initializer_stddev, dtype=dtype, rngs=rngs)
    self.input = Dense(
      embed, mlp, in_axes=('embed',), out_axes=('mlp',), **common
    )
    self.output = Dense(
      mlp, embed, in_axes=('mlp',), out_axes=('embed',), **common
    )

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    return self.output(gelu(self.input(x_BTD)))
