"""Attention over windows in blocks of a row: O(T x window) memory per head."""

import dataclasses

import jax
import jax.numpy as jnp

from bert_jax.models.attention.reference import dot_product_attention
from bert_jax.models.attention.view import Shapes, View
from bert_jax.models.dropout import fold_each
from bert_jax.models.masks import filled_up

# Smallest size of a block; below it, computing is slow.
MIN_BLOCK = 16


@dataclasses.dataclass(kw_only=True, slots=True)
class WindowedAttention:
  """Attention over windows, for rows of more than three blocks.

  A row is cut into G blocks of Q = window / 2 queries. Each query sees keys in
  its own block and the two beside it only, K = 3 Q keys. So a head computes
  G x Q x K scores instead of T x T.
  """

  def validate(self) -> None:
    pass

  def supports(self, view: View, shapes: Shapes, platform: str) -> str:
    if not view.window:
      return 'it is for windows, not for whole texts'
    num_keys = 3 * _block(view.window)
    if shapes.length <= num_keys:
      return f'a block of it would hold {num_keys} keys, as many as the row'
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
    length, size = query_BTNH.shape[1], _block(view.window)
    query_BGQNH = _blocks(query_BTNH, size, 0)
    key_BGKNH = _with_neighbours(_blocks(key_BSNH, size, 0), 0)
    value_BGKNH = _with_neighbours(_blocks(value_BSNH, size, 0), 0)
    # Places beyond the row are segment -1; only queries that fill it up see it.
    segment_ids_BGQ = _blocks(view.segment_ids, size, -1)
    key_segment_ids_BGK = _with_neighbours(segment_ids_BGQ, -1)
    distance_QK = jnp.arange(size)[:, None] + size - jnp.arange(3 * size)
    mask_BGQK = (
      segment_ids_BGQ[..., :, None] == key_segment_ids_BGK[..., None, :]
    ) & (jnp.abs(distance_QK) <= view.window // 2)

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
  """Cuts [B, T, ...] into blocks [B, G, size, ...]; fills up the last one."""
  x = filled_up(x, size, fill)
  return x.reshape(x.shape[0], -1, size, *x.shape[2:])


def _with_neighbours(x: jax.Array, fill: int) -> jax.Array:
  """Joins each block with its neighbours: -> [B, G, 3 size, ...]."""
  x = jnp.pad(
    x, [(0, 0), (1, 1)] + [(0, 0)] * (x.ndim - 2), constant_values=fill
  )
  return jnp.concatenate([x[:, :-2], x[:, 1:-1], x[:, 2:]], axis=2)
