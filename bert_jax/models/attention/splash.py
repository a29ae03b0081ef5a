"""Attention by Pallas kernels for TPU: O(T) memory, blocks kept on the chip.

The kernels are JAX's splash attention, of
jax.experimental.pallas.ops.tpu.splash_attention. They keep the output and the
logarithms of the softmax's sums for the backward pass, and skip blocks outside
a window.

Temporary memory of a forward and backward pass, as compiled for a v5e (8 rows
of 1,024 tokens, 12 heads of 64, bf16; jax 0.12.0.1, libtpu 0.0.50.1): 62 MiB,
beside 37 in BlockedAttention, 265 in WindowedAttention (window 128) and 769 in
ReferenceAttention. No device has run the kernels yet: their numbers are tested
in Pallas' interpreter.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.errors import InputError
from bert_jax.models.attention.view import (
  ATTENDED,
  Shapes,
  View,
  uneven_split,
)
from bert_jax.models.masks import filled_up
from bert_jax.parallel.sharding import on_each_device

# Blocks are made of whole vectors of the chip, which have 128 lanes.
_LANES = 128


@dataclasses.dataclass(kw_only=True, slots=True)
class SplashAttention:
  """Attention to whole texts or windows on a TPU, without an array of T x T.

  block_size: the most queries, and keys, that are computed at a time; a
  multiple of 128. interpret: kernels run in Pallas' interpreter, on a CPU too:
  slow, for tests.
  """

  block_size: int = 512
  interpret: bool = False

  def validate(self) -> None:
    if self.block_size < _LANES or self.block_size % _LANES:
      raise InputError(
        f'SplashAttention.block_size is {self.block_size}; it must be a '
        f'multiple of {_LANES}, such as 512'
      )

  def supports(self, view: View, shapes: Shapes, platform: str) -> str:
    if platform != 'tpu' and not (self.interpret and platform == 'cpu'):
      return f'it needs a TPU, this is a {platform}'
    if shapes.dropout:
      return 'it cannot drop attention weights, as attention_dropout asks'
    return uneven_split(shapes)

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
    assert dropout_seeds_B is None or not dropout_rate  # see `supports`
    length = query_BTNH.shape[1]
    scale = query_BTNH.shape[-1] ** -0.5
    heads_BTNH = [
      filled_up(x, _LANES) for x in (query_BTNH * scale, key_BSNH, value_BSNH)
    ]
    # Places that fill up a row see one another alone.
    segment_ids_BT = filled_up(view.segment_ids, _LANES, -1)
    call = _Call(
      view.window,
      _block_size(self.block_size, segment_ids_BT.shape[1], view.window),
      self.interpret,
    )
    of_heads = ('batch', 'length', 'heads', 'head_dim')
    attended_BTNH = on_each_device(
      functools.partial(_attend, call),
      (of_heads, of_heads, of_heads, ('batch', 'length')),
      of_heads,
    )(*heads_BTNH, segment_ids_BT)
    return attended_BTNH[:, :length]


class _Call(NamedTuple):
  """window: as in View. block_size: queries and keys of a block."""

  window: int
  block_size: int
  interpret: bool


def _block_size(most: int, length: int, window: int) -> int:
  """The largest size of a block that divides a row.

  Blocks of more than two windows would compute many scores out of view.
  """
  if window:
    most = min(most, max(2 * window, _LANES))
  sizes = range(_LANES, most + 1, _LANES)
  return max(size for size in sizes if length % size == 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(call, query_BTNH, key_BSNH, value_BSNH, segment_ids_BT):
  """The rows and heads of one device, as whole blocks; `query` is scaled."""
  with _precision(value_BSNH.dtype):
    return _of_rows(call, segment_ids_BT, query_BTNH, key_BSNH, value_BSNH)


def _forward(call, query_BTNH, key_BSNH, value_BSNH, segment_ids_BT):
  with _precision(value_BSNH.dtype):
    return jax.vjp(
      functools.partial(_of_rows, call, segment_ids_BT),
      query_BTNH,
      key_BSNH,
      value_BSNH,
    )


def _backward(call, transpose, cotangent_BTNH):
  with _precision(cotangent_BTNH.dtype):
    return *transpose(cotangent_BTNH), None


_attend.defvjp(_forward, _backward)


def _precision(dtype: jnp.dtype) -> Any:
  """The precision of products in the kernels, which take it from the context.

  The kernels of a backward pass are made after the context of the forward pass
  has ended, which is why `_attend` has a backward pass of its own.
  """
  is_f32 = dtype == jnp.float32
  return jax.default_matmul_precision('highest' if is_f32 else 'default')


def _of_rows(call, segment_ids_BT, query_BTNH, key_BSNH, value_BSNH):
  # The import takes a tenth of a second, which other platforms are spared.
  from jax.experimental.pallas.ops.tpu import splash_attention as splash

  size, (_, length, num_heads, _) = call.block_size, query_BTNH.shape
  shape, half = (length, length), call.window // 2
  mask = (
    splash.LocalMask(shape, (half, half), 0)
    if call.window
    else splash.FullMask(shape)
  )
  # Made in each trace, since the arrays in it belong to that trace.
  kernel = splash.make_splash_mha(
    splash.MultiHeadMask([mask] * num_heads),
    block_sizes=splash.BlockSizes(
      block_q=size,
      block_kv=size,
      block_q_dkv=size,
      block_kv_dkv=size,
      block_q_dq=size,
      block_kv_dq=size,
      # With a head of 64 as the last axis, arrays are filled up to 128 lanes:
      # twice the memory.
      q_layout=splash.QKVLayout.SEQ_MINOR,
      k_layout=splash.QKVLayout.SEQ_MINOR,
      v_layout=splash.QKVLayout.SEQ_MINOR,
    ),
    head_shards=1,
    q_seq_shards=1,
    residual_checkpoint_name=ATTENDED,
    interpret=call.interpret,
  )

  def of_row(segment_ids_T, *heads_TNH):
    attended_NTH: Any = kernel(
      *(jnp.swapaxes(x_TNH, 0, 1) for x_TNH in heads_TNH),
      splash.SegmentIds(segment_ids_T, segment_ids_T),
    )
    return jnp.swapaxes(attended_NTH, 0, 1)

  return jax.vmap(of_row)(segment_ids_BT, query_BTNH, key_BSNH, value_BSNH)
