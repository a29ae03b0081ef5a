"""Segments, positions, token types and masks, derived from a row's token ids.

A row is `[CLS] text [SEP] [CLS] text [SEP] ... [PAD]`. The device derives its
layout from the special tokens, so the input pipeline ships token ids alone. The
ids must be the clean ones, before any corruption.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class RowLayout(NamedTuple):
  """The layout of a batch of rows, three arrays int32 [B, T].

  segment_ids: 1, 2, ... for the packed texts of a row, 0 for padding.
  position_ids: counted from 0 in every segment (0 for padding).
  token_type_ids: 0 up to a segment's first [SEP], then 1.
  """

  segment_ids: jax.Array
  position_ids: jax.Array
  token_type_ids: jax.Array


def row_layout(
  input_ids_BT: jax.Array, *, cls_id: int, sep_id: int, pad_id: int
) -> RowLayout:
  """Derives the layout of clean rows; ids int [B, T]."""
  is_cls = input_ids_BT == cls_id
  is_text = (input_ids_BT != pad_id).astype(jnp.int32)
  segment_ids = jnp.cumsum(is_cls, axis=1, dtype=jnp.int32) * is_text
  column = jnp.arange(input_ids_BT.shape[1], dtype=jnp.int32)
  start = jax.lax.cummax(jnp.where(is_cls, column, 0), axis=1)
  position_ids = (column - start) * is_text
  is_sep = (input_ids_BT == sep_id).astype(jnp.int32)
  seps_before = jnp.cumsum(is_sep, axis=1) - is_sep
  seps_at_start = jax.lax.cummax(jnp.where(is_cls, seps_before, 0), axis=1)
  token_type_ids = (seps_before > seps_at_start).astype(jnp.int32) * is_text
  return RowLayout(segment_ids, position_ids, token_type_ids)


def same_segment(segment_ids_BT: jax.Array) -> jax.Array:
  """Mask bool [B, 1, T, S] in which a token sees its own segment alone.

  Padding is segment 0 and sees only padding, so that no row of the softmax is
  empty (that would be 0/0).
  """
  return segment_ids_BT[:, None, :, None] == segment_ids_BT[:, None, None, :]


def within_window(length: int, window: int) -> jax.Array:
  """Mask bool [1, 1, T, S]: a token sees `window` / 2 tokens to either side.

  A window of 128 shows 64 tokens, the token itself, and 64 more, as in
  ModernBERT. Distances are counted in columns of the row; within a segment
  these equal the distances between positions.
  """
  column = jnp.arange(length)
  return (jnp.abs(column[:, None] - column) <= window // 2)[None, None]


def filled_up(x: jax.Array, size: int, fill: int = 0) -> jax.Array:
  """Adds places of `fill` to the rows of x, [B, T, ...] -> [B, G size, ...].

  G is the least number for which no token is cut off.
  """
  missing = -x.shape[1] % size
  return jnp.pad(
    x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2), constant_values=fill
  )
