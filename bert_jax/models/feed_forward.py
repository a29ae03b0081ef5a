"""The position-wise feed-forward network: two projections, three if gated."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.models.config import EncoderConfig
from bert_jax.models.layers import ACTIVATIONS, Dense


class FeedForward(nnx.Module):
  """Feed-forward network: [B, T, D] -> [B, T, F] -> activation -> [B, T, D].

  If gated, the activation is multiplied by a second projection of the input:
  GeGLU, Shazeer 2020 (https://arxiv.org/abs/2002.05202).
  """

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    embed, mlp = (config.embed_dim,), (config.mlp_dim,)
    common = dict(use_bias=config.use_bias, dtype=dtype, rngs=rngs)
    into_mlp = dict(
      in_axes=('embed',), out_axes=('mlp',), stddev=config.initializer_stddev
    )
    self.input = Dense(embed, mlp, kind='mlp_input', **into_mlp, **common)
    # Two kernels, not two halves of one, so that both split alike over a mesh.
    self.gate = (
      Dense(embed, mlp, kind='mlp_gate', **into_mlp, **common)
      if config.gated
      else None
    )
    self.output = Dense(
      mlp,
      embed,
      in_axes=('mlp',),
      out_axes=('embed',),
      kind='mlp_output',
      stddev=config.output_stddev,
      **common,
    )
    self.activation = ACTIVATIONS[config.activation]

  def __call__(
    self, x_BTD: jax.Array, dropout_seeds_B: jax.Array | None = None
  ) -> jax.Array:
    activated_BTF = self.activation(self.input(x_BTD, dropout_seeds_B))
    if self.gate is not None:
      activated_BTF *= self.gate(x_BTD, dropout_seeds_B)
    return self.output(activated_BTF, dropout_seeds_B)
