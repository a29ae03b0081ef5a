"""The BERT encoder as published: embeddings, then post-norm layers.

Source: Devlin et al. 2019, and modeling.py of google-research/bert.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.models.attention import SelfAttention
from bert_jax.models.config import EncoderConfig
from bert_jax.models.dropout import dropout, fold
from bert_jax.models.embeddings import Embeddings
from bert_jax.models.feed_forward import FeedForward
from bert_jax.models.layers import LayerNorm
from bert_jax.models.masks import RowLayout, same_segment
from bert_jax.parallel.sharding import constrain


class EncoderLayer(nnx.Module):
  """x = norm(x + attention(x)); x = norm(x + feed_forward(x))."""

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    self.attention = SelfAttention(config, dtype=dtype, rngs=rngs)
    self.attention_norm = LayerNorm(
      config.embed_dim, epsilon=config.norm_epsilon, dtype=dtype
    )
    self.feed_forward = FeedForward(config, dtype=dtype, rngs=rngs)
    self.feed_forward_norm = LayerNorm(
      config.embed_dim, epsilon=config.norm_epsilon, dtype=dtype
    )
    self.dropout_rate = config.dropout

  def __call__(
    self,
    x_BTD: jax.Array,
    mask_B1TS: jax.Array,
    dropout_seeds_B: jax.Array | None = None,
  ) -> jax.Array:
    seeds = [fold(dropout_seeds_B, use) for use in range(3)]
    attended = self.attention(x_BTD, mask_B1TS, seeds[0])
    attended = dropout(attended, self.dropout_rate, seeds[1])
    x_BTD = self.attention_norm(x_BTD + attended)
    transformed = self.feed_forward(x_BTD)
    transformed = dropout(transformed, self.dropout_rate, seeds[2])
    x_BTD = self.feed_forward_norm(x_BTD + transformed)
    return constrain(x_BTD, 'batch', 'length', 'embed')


class Encoder(nnx.Module):
  """Token ids and their layout -> one vector a token."""

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    self.embeddings = Embeddings(config, dtype=dtype, rngs=rngs)
    self.layers = nnx.List(
      EncoderLayer(config, dtype=dtype, rngs=rngs)
      for _ in range(config.num_layers)
    )

  def __call__(
    self,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    dropout_seeds_B: jax.Array | None = None,
  ) -> jax.Array:
    """Returns the last layer's hidden states, [B, T, D]."""
    return self.hidden_states(input_ids_BT, layout, dropout_seeds_B)[-1]

  def hidden_states(
    self,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    dropout_seeds_B: jax.Array | None = None,
  ) -> list[jax.Array]:
    """Returns [B, T, D] after the embeddings and after each layer."""
    x_BTD = self.embeddings(input_ids_BT, layout, fold(dropout_seeds_B, 0))
    states = [constrain(x_BTD, 'batch', 'length', 'embed')]
    mask_B1TS = same_segment(layout.segment_ids)
    for number, layer in enumerate(self.layers, start=1):
      states.append(layer(states[-1], mask_B1TS, fold(dropout_seeds_B, number)))
    return states
