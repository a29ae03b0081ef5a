"""Reference attention: it defines the numbers, with all scores at once."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from bert_jax.models.attention.view import ATTENDED, Shapes, View
from bert_jax.models.dropout import dropout
from bert_jax.models.products import product


@dataclasses.dataclass(kw_only=True, slots=True)
class ReferenceAttention:
  """Attention by a mask over all pairs of a row: O(T x T) memory per head."""

  def validate(self) -> None:
    pass

  def supports(self, view: View, shapes: Shapes, platform: str) -> str:
    return ''

  def attend(
    self,
    query_BTNH: jax.Array,
    key_BSNH: jax.Array,
    value_BSNH: jax.Array,
    view: View,
    *,
    dropout_rate: float = 0.0,
    dropout_seeds_B: jax.Array | None = None,
  ) -> jax.Array:
    return dot_product_attention(
      query_BTNH,
      key_BSNH,
      value_BSNH,
      view.mask(),
      dropout_rate=dropout_rate,
      dropout_seeds_B=dropout_seeds_B,
    )


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
  """Returns softmax(q·k / sqrt(H)) · v, [B, T, N, H], with the softmax in f32.

  `mask_B1TS` is bool, True for keys that a query may see. Attention dropout
  needs seeds; without them the function is deterministic.
  """
  scale = query_BTNH.shape[-1] ** -0.5
  dtype = value_BSNH.dtype
  scores_BNTS = product('BTNH,BSNH->BNTS', query_BTNH * scale, key_BSNH, dtype)
  scores_BNTS = jnp.where(mask_B1TS, scores_BNTS, -1e30)
  weights_BNTS = jax.nn.softmax(scores_BNTS, axis=-1)
  weights_BNTS = dropout(weights_BNTS, dropout_rate, dropout_seeds_B)
  attended_BTNH = product(
    'BNTS,BSNH->BTNH', weights_BNTS.astype(dtype), value_BSNH, dtype
  )
  return checkpoint_name(attended_BTNH.astype(dtype), ATTENDED)
