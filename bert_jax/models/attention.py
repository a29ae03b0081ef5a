"""Multi-head self-attention: projections around one attention function."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.models.config import EncoderConfig
from bert_jax.models.dropout import dropout
from bert_jax.models.layers import Dense


@jax.named_scope('attention')
def dot_product_attention(
  query_BTNH: jax.Array,
  key_BSNH: jax.Array,
  value_BSNH: jax.Array,
  mask_B1TS: jax.Array,
  *,
  dropout_rate: float = 0.0,
  dropout_seeds_B: jax.Array | None = None,
) -> jax.Array:
  """The reference: softmax(q·k / sqrt(H)) · v, softmax in f32 -> [B, T, N, H].

  `mask_B1TS` is bool, True where a query may look. Attention dropout needs
  seeds; without them the function is deterministic.
  """
  scale = query_BTNH.shape[-1] ** -0.5
  scores_BNTS = jnp.einsum(
    'BTNH,BSNH->BNTS',
    query_BTNH * scale,
    key_BSNH,
    preferred_element_type=jnp.float32,
  )
  scores_BNTS = jnp.where(mask_B1TS, scores_BNTS, -1e30)
  weights_BNTS = jax.nn.softmax(scores_BNTS, axis=-1)
  weights_BNTS = dropout(weights_BNTS, dropout_rate, dropout_seeds_B)
  return jnp.einsum(
    'BNTS,BSNH->BTNH',
    weights_BNTS.astype(value_BSNH.dtype),
    value_BSNH,
    preferred_element_type=jnp.float32,
  ).astype(value_BSNH.dtype)


class SelfAttention(nnx.Module):
  """Projects to heads, attends within the mask, projects back."""

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    embed, heads = (config.embed_dim,), (config.num_heads, config.head_dim)
    common = dict(stddev=config.initializer_stddev, dtype=dtype, rngs=rngs)
    into_heads = dict(in_axes=('embed',), out_axes=('heads', 'head_dim'))
    self.query = Dense(embed, heads, **into_heads, **common)
    self.key = Dense(embed, heads, **into_heads, **common)
    self.value = Dense(embed, heads, **into_heads, **common)
    self.output = Dense(
      heads,
      embed,
      in_axes=('heads', 'head_dim'),
      out_axes=('embed',),
      **common,
    )
    self.dropout_rate = config.attention_dropout

  def __call__(
    self,
    x_BTD: jax.Array,
    mask_B1TS: jax.Array,
    dropout_seeds_B: jax.Array | None = None,
  ) -> jax.Array:
    attended_BTNH = dot_product_attention(
      self.query(x_BTD),
      self.key(x_BTD),
      self.value(x_BTD),
      mask_B1TS,
      dropout_rate=self.dropout_rate,
      dropout_seeds_B=dropout_seeds_B,
    )
    return self.output(attended_BTNH)
