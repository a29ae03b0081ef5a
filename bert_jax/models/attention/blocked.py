"""Attention in blocks of queries and keys: O(T) memory, on any platform.

The softmax is summed up block by block, and the backward pass computes the
scores again from the output and the logarithms of the sums, which alone are
kept. Source: Dao et al. 2022 (https://arxiv.org/abs/2205.14135).

Shape letters beyond the usual ones: Q queries of a block, K keys of a block,
G blocks of a row.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from bert_jax.errors import InputError
from bert_jax.models.attention.view import ATTENDED, Shapes, View
from bert_jax.models.dropout import kept
from bert_jax.models.masks import filled_up
from bert_jax.models.products import product

_MASKED = -1e30


@dataclasses.dataclass(kw_only=True, slots=True)
class BlockedAttention:
  """Attention to whole texts or windows, without an array of T x T.

  block_size: queries, and keys, that are computed at a time. Blocks without a
  pair in view, in any row of the batch, are skipped. Attention dropout drops
  what ReferenceAttention drops.
  """

  block_size: int = 256

  def validate(self) -> None:
    if self.block_size < 1:
      raise InputError(
        f'BlockedAttention.block_size is {self.block_size}; it must be 1 or '
        'more, such as 256'
      )

  def supports(self, view: View, shapes: Shapes, platform: str) -> str:
    return ''

  @jax.named_scope('attention')
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
    length = query_BTNH.shape[1]
    size = min(self.block_size, length)
    call = _Call(length, size, 0.0 if dropout_seeds_B is None else dropout_rate)
    if dropout_seeds_B is None:
      dropout_seeds_B = jnp.zeros(query_BTNH.shape[:1], jnp.uint32)
    scale = query_BTNH.shape[-1] ** -0.5
    arrays = [query_BTNH * scale, key_BSNH, value_BSNH]
    attended_BTNH = _attend(
      call,
      # The interval [0, 0) of a query that fills up is empty.
      *(filled_up(x, size) for x in (*arrays, *view.interval())),
      dropout_seeds_B,
    )
    return attended_BTNH[:, :length]


class _Call(NamedTuple):
  """length: tokens of a row. size: of a block. rate: of attention dropout."""

  length: int
  size: int
  rate: float


class _Block(NamedTuple):
  """Queries of one block, and what they may see: keys [start, end) each.

  Any of them sees the blocks [first, last) of keys alone.
  """

  number: jax.Array
  query_BQNH: jax.Array
  start_BQ: jax.Array
  end_BQ: jax.Array
  first: jax.Array
  last: jax.Array


def _cut(x: jax.Array, number: jax.Array, size: int) -> jax.Array:
  return jax.lax.dynamic_slice_in_dim(x, number * size, size, axis=1)


def _blocks(call: _Call, query_BTNH, start_BT, end_BT) -> _Block:
  """All blocks of queries, with their numbers in front: [G, B, Q, ...].

  What they see is found for all of them at once, since it is a collective
  where devices share the rows.
  """

  def block(number: jax.Array) -> _Block:
    query_BQNH, start_BQ, end_BQ = (
      _cut(x, number, call.size) for x in (query_BTNH, start_BT, end_BT)
    )
    sees_BQ = start_BQ < end_BQ
    first = jnp.min(jnp.where(sees_BQ, start_BQ, jnp.iinfo(jnp.int32).max))
    last = jnp.max(jnp.where(sees_BQ, end_BQ, 0))
    return _Block(
      number,
      query_BQNH,
      start_BQ,
      end_BQ,
      first // call.size,
      -(-last // call.size),
    )

  return jax.vmap(block)(jnp.arange(query_BTNH.shape[1] // call.size))


def _scores(call: _Call, block: _Block, key_BKNH, number):
  """(f32 scores, whether they are in view), [B, N, Q, K] and [B, 1, Q, K]."""
  scores_BNQK = product(
    'BQNH,BKNH->BNQK', block.query_BQNH, key_BKNH, key_BKNH.dtype
  )
  column_K = number * call.size + jnp.arange(call.size)
  in_view_BQK = (block.start_BQ[..., None] <= column_K) & (
    column_K < block.end_BQ[..., None]
  )
  return scores_BNQK, in_view_BQK[:, None]


def _dropped(call: _Call, block: _Block, number, x_BNQK, seeds_B):
  """Drops weights, or their cotangents, as `dropout` would in the whole row."""
  if not call.rate:
    return x_BNQK
  shape = (1, *x_BNQK.shape[1:])
  head, query, key = (
    jax.lax.broadcasted_iota(jnp.uint32, shape, axis) for axis in (1, 2, 3)
  )
  query += jnp.uint32(call.size) * block.number.astype(jnp.uint32)
  key += jnp.uint32(call.size) * number.astype(jnp.uint32)
  place = (head * jnp.uint32(call.length) + query) * jnp.uint32(call.length)
  keep_BNQK = kept(place + key, call.rate, seeds_B)
  return jnp.where(keep_BNQK, x_BNQK / (1 - call.rate), 0.0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(call, query_BTNH, key_BSNH, value_BSNH, start_BT, end_BT, seeds_B):
  """Returns [B, T, N, H] for arrays of whole blocks; `query` is scaled."""
  return _forward(
    call, query_BTNH, key_BSNH, value_BSNH, start_BT, end_BT, seeds_B
  )[0]


def _forward(call, query_BTNH, key_BSNH, value_BSNH, start_BT, end_BT, seeds_B):
  batch_size, _, num_heads, head_dim = query_BTNH.shape
  dtype = value_BSNH.dtype

  def of_block(block: _Block):
    def add(number, sums):
      highest_BNQ, total_BNQ, attended_BNQH = sums
      scores_BNQK, in_view_B1QK = _scores(
        call, block, _cut(key_BSNH, number, call.size), number
      )
      scores_BNQK = jnp.where(in_view_B1QK, scores_BNQK, _MASKED)
      new_BNQ = jnp.maximum(highest_BNQ, jnp.max(scores_BNQK, axis=-1))
      weights_BNQK = jnp.where(
        in_view_B1QK, jnp.exp(scores_BNQK - new_BNQ[..., None]), 0.0
      )
      shrink_BNQ = jnp.exp(highest_BNQ - new_BNQ)
      added_BNQH = product(
        'BNQK,BKNH->BNQH',
        _dropped(call, block, number, weights_BNQK, seeds_B).astype(dtype),
        _cut(value_BSNH, number, call.size),
        dtype,
      )
      return (
        new_BNQ,
        total_BNQ * shrink_BNQ + jnp.sum(weights_BNQK, axis=-1),
        attended_BNQH * shrink_BNQ[..., None] + added_BNQH,
      )

    shape = (batch_size, num_heads, call.size)
    highest_BNQ, total_BNQ, attended_BNQH = jax.lax.fori_loop(
      block.first,
      block.last,
      add,
      (
        jnp.full(shape, _MASKED),
        jnp.zeros(shape),
        jnp.zeros((*shape, head_dim)),
      ),
    )
    # A query that fills up the last block sees nothing.
    total_BNQ = jnp.where(total_BNQ > 0, total_BNQ, 1.0)
    attended_BNQH = (attended_BNQH / total_BNQ[..., None]).astype(dtype)
    return attended_BNQH, highest_BNQ + jnp.log(total_BNQ)

  attended_GBNQH, log_sum_GBNQ = jax.lax.map(
    of_block, _blocks(call, query_BTNH, start_BT, end_BT)
  )
  attended_BTNH = jnp.einsum('GBNQH->BGQNH', attended_GBNQH).reshape(
    query_BTNH.shape
  )
  # Rematerialisation that keeps both need not run the loops again.
  attended_BTNH = checkpoint_name(attended_BTNH, ATTENDED)
  log_sum_GBNQ = checkpoint_name(log_sum_GBNQ, ATTENDED)
  arrays = query_BTNH, key_BSNH, value_BSNH, start_BT, end_BT, seeds_B
  return attended_BTNH, (arrays, attended_BTNH, log_sum_GBNQ)


def _backward(call, saved, cotangent_BTNH):
  arrays, attended_BTNH, log_sum_GBNQ = saved
  query_BTNH, key_BSNH, value_BSNH, start_BT, end_BT, seeds_B = arrays
  dtype = value_BSNH.dtype
  # The sum over keys of weights times their cotangents, by the output alone.
  mean_BNT = jnp.einsum(
    'BTNH,BTNH->BNT',
    cotangent_BTNH.astype(jnp.float32),
    attended_BTNH.astype(jnp.float32),
  )

  def of_block(to_keys, given):
    block, log_sum_BNQ = given
    at = functools.partial(_cut, number=block.number, size=call.size)
    cotangent_BQNH = at(cotangent_BTNH)
    mean_BNQ = jax.lax.dynamic_slice_in_dim(
      mean_BNT, block.number * call.size, call.size, axis=2
    )

    def add(number, sums):
      to_query_BQNH, to_key_BSNH, to_value_BSNH = sums
      key_BKNH, value_BKNH = (
        _cut(x, number, call.size) for x in (key_BSNH, value_BSNH)
      )
      query_part, key_part, value_part = _gradients_of_pair(
        block,
        (key_BKNH, value_BKNH, cotangent_BQNH),
        _scores(call, block, key_BKNH, number),
        (log_sum_BNQ, mean_BNQ),
        functools.partial(_dropped, call, block, number, seeds_B=seeds_B),
      )
      return (
        to_query_BQNH + query_part,
        _added(to_key_BSNH, key_part, number),
        _added(to_value_BSNH, value_part, number),
      )

    zeros = jnp.zeros(block.query_BQNH.shape)
    to_query_BQNH, *to_keys = jax.lax.fori_loop(
      block.first, block.last, add, (zeros, *to_keys)
    )
    return tuple(to_keys), to_query_BQNH.astype(dtype)

  zeros = jnp.zeros(key_BSNH.shape)
  to_keys, to_query_GBQNH = jax.lax.scan(
    of_block,
    (zeros, zeros),
    (_blocks(call, query_BTNH, start_BT, end_BT), log_sum_GBNQ),
  )
  to_query_BTNH = jnp.einsum('GBQNH->BGQNH', to_query_GBQNH).reshape(
    query_BTNH.shape
  )
  return to_query_BTNH, *(x.astype(dtype) for x in to_keys), None, None, None


def _gradients_of_pair(block: _Block, arrays, scores, of_queries, drop):
  """Parts of three gradients, f32, from one block of queries and one of keys.

  `arrays` are the keys, the values and the cotangent of the output; `scores`
  are those of `_scores`; `of_queries` are, for each query, the logarithm of its
  sum and the mean of its weights' cotangents; `drop` drops weights.
  """
  key_BKNH, value_BKNH, cotangent_BQNH = arrays
  scores_BNQK, in_view_B1QK = scores
  log_sum_BNQ, mean_BNQ = of_queries
  dtype = value_BKNH.dtype
  weights_BNQK = jnp.where(
    in_view_B1QK, jnp.exp(scores_BNQK - log_sum_BNQ[..., None]), 0.0
  )
  to_weights_BNQK = drop(
    product('BQNH,BKNH->BNQK', cotangent_BQNH, value_BKNH, dtype)
  )
  to_scores_BNQK = (
    weights_BNQK * (to_weights_BNQK - mean_BNQ[..., None])
  ).astype(dtype)
  dropped_BNQK = drop(weights_BNQK).astype(dtype)
  onto_keys = 'BNQK,BQNH->BKNH'
  return (
    product('BNQK,BKNH->BQNH', to_scores_BNQK, key_BKNH, dtype),
    product(onto_keys, to_scores_BNQK, block.query_BQNH, dtype),
    product(onto_keys, dropped_BNQK, cotangent_BQNH, dtype),
  )


def _added(x: jax.Array, part: jax.Array, number: jax.Array) -> jax.Array:
  """x [B, S, ...] with `part` [B, K, ...] added to one of its blocks."""
  size = part.shape[1]
  return jax.lax.dynamic_update_slice_in_dim(
    x, _cut(x, number, size) + part, number * size, axis=1
  )


_attend.defvjp(_forward, _backward)
