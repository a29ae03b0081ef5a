"""Multi-head self-attention: projections around one attention function.

What a token may see is data, not a kind of layer: a `View` holds it, and one
view serves all layers of an encoder that see alike.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.models.config import EncoderConfig
from bert_jax.models.dropout import dropout, fold_each
from bert_jax.models.layers import Dense
from bert_jax.models.masks import RowLayout, same_segment, within_window
from bert_jax.models.rotary import Rotation, rotate, rotation

# Blocks of a window smaller than this would be too small to compute fast.
MIN_BLOCK = 16


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=['mask', 'segment_ids', 'rotation'],
  meta_fields=['window'],
)
@dataclasses.dataclass(frozen=True)
class View:
  """What the tokens of a row see in a layer, and by what they are turned.

  mask: bool [B, 1, T, S], or None: by blocks, see `local_attention`.
  segment_ids: int32 [B, T].
  rotation: of queries and keys, or None.
  window: so many tokens around each, 0 for the whole segment.
  """

  mask: jax.Array | None
  segment_ids: jax.Array
  rotation: Rotation | None
  window: int


def make_view(
  config: EncoderConfig, layout: RowLayout, *, is_global: bool
) -> View:
  """The view of the global or of the local layers; see EncoderConfig."""
  length = layout.segment_ids.shape[1]
  window = 0 if is_global else config.local_window
  mask_B1TS = None
  if is_global:
    mask_B1TS = same_segment(layout.segment_ids)
  elif length <= 3 * _block(window):
    # A block would hold as many keys as there are.
    mask_B1TS = same_segment(layout.segment_ids) & within_window(length, window)
  turned_by = None
  if config.positions == 'rotary':
    turned_by = rotation(
      layout.position_ids,
      head_dim=config.head_dim,
      theta=config.rotary_theta if is_global else config.local_rotary_theta,
    )
  return View(mask_B1TS, layout.segment_ids, turned_by, window)


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


def local_attention(
  query_BTNH: jax.Array,
  key_BTNH: jax.Array,
  value_BTNH: jax.Array,
  segment_ids_BT: jax.Array,
  *,
  window: int,
  dropout_rate: float = 0.0,
  dropout_seeds_B: jax.Array | None = None,
) -> jax.Array:
  """The reference under same_segment & within_window, in memory O(T x window).

  A row is cut into G blocks of Q = window / 2 queries. What they may see lies
  in their own block and the two beside it: K = 3 Q keys. So there are G x Q x K
  scores a head and not T x T. -> [B, T, N, H].
  """
  length, size = query_BTNH.shape[1], _block(window)
  query_BGQNH = _blocks(query_BTNH, size, 0)
  key_BGKNH = _with_neighbours(_blocks(key_BTNH, size, 0), 0)
  value_BGKNH = _with_neighbours(_blocks(value_BTNH, size, 0), 0)
  # Beyond the row is segment -1, which only the queries that fill it up see.
  segment_ids_BGQ = _blocks(segment_ids_BT, size, -1)
  key_segment_ids_BGK = _with_neighbours(segment_ids_BGQ, -1)
  distance_QK = jnp.arange(size)[:, None] + size - jnp.arange(3 * size)
  mask_BGQK = (
    segment_ids_BGQ[..., :, None] == key_segment_ids_BGK[..., None, :]
  ) & (jnp.abs(distance_QK) <= window // 2)

  def of_blocks(query_BQNH, key_BKNH, value_BKNH, mask_BQK, seeds_B):
    return dot_product_attention(
      query_BQNH,
      key_BKNH,
      value_BKNH,
      mask_BQK[:, None],
      dropout_rate=dropout_rate,
      dropout_seeds_B=seeds_B,
    )

  seeds_BG = fold_each(dropout_seeds_B, query_BGQNH.shape[1])
  attended_BGQNH = jax.vmap(of_blocks, in_axes=1, out_axes=1)(
    query_BGQNH, key_BGKNH, value_BGKNH, mask_BGQK, seeds_BG
  )
  batch_size, _, _, *heads = attended_BGQNH.shape
  return attended_BGQNH.reshape(batch_size, -1, *heads)[:, :length]


def _block(window: int) -> int:
  return max(window // 2, MIN_BLOCK)


def _blocks(x: jax.Array, size: int, fill: int) -> jax.Array:
  """[B, T, ...] -> [B, G, size, ...], the last block filled up."""
  missing = -x.shape[1] % size
  x = jnp.pad(
    x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2), constant_values=fill
  )
  return x.reshape(x.shape[0], -1, size, *x.shape[2:])


def _with_neighbours(x: jax.Array, fill: int) -> jax.Array:
  """[B, G, size, ...] -> [B, G, 3 size, ...]: the block before and after."""
  x = jnp.pad(
    x, [(0, 0), (1, 1)] + [(0, 0)] * (x.ndim - 2), constant_values=fill
  )
  return jnp.concatenate([x[:, :-2], x[:, 1:-1], x[:, 2:]], axis=2)


class SelfAttention(nnx.Module):
  """Projects to heads, attends to what is in view, projects back."""

  def __init__(
    self, config: EncoderConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs
  ):
    embed, heads = (config.embed_dim,), (config.num_heads, config.head_dim)
    common = dict(use_bias=config.use_bias, dtype=dtype, rngs=rngs)
    into_heads = dict(
      in_axes=('embed',),
      out_axes=('heads', 'head_dim'),
      stddev=config.initializer_stddev,
    )
    self.query = Dense(embed, heads, kind='query', **into_heads, **common)
    self.key = Dense(embed, heads, kind='key', **into_heads, **common)
    self.value = Dense(embed, heads, kind='value', **into_heads, **common)
    self.output = Dense(
      heads,
      embed,
      in_axes=('heads', 'head_dim'),
      out_axes=('embed',),
      kind='attention_output',
      stddev=config.output_stddev,
      **common,
    )
    self.dropout_rate = config.attention_dropout

  def __call__(
    self,
    x_BTD: jax.Array,
    view: View,
    dropout_seeds_B: jax.Array | None = None,
  ) -> jax.Array:
    query_BTNH = rotate(self.query(x_BTD, dropout_seeds_B), view.rotation)
    key_BTNH = rotate(self.key(x_BTD, dropout_seeds_B), view.rotation)
    value_BTNH = self.value(x_BTD, dropout_seeds_B)
    if view.mask is None:
      attend = functools.partial(
        local_attention, segment_ids_BT=view.segment_ids, window=view.window
      )
    else:
      attend = functools.partial(dot_product_attention, mask_B1TS=view.mask)
    attended_BTNH = attend(
      query_BTNH,
      key_BTNH,
      value_BTNH,
      dropout_rate=self.dropout_rate,
      dropout_seeds_B=dropout_seeds_B,
    )
    return self.output(attended_BTNH, dropout_seeds_B)
