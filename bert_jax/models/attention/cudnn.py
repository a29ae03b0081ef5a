"""Attention by the kernels of cuDNN, for NVIDIA GPUs of Ampere and later.

The call is `jax.nn.dot_product_attention(implementation='cudnn')`. The view
goes to the kernels as a mask of T x T that all heads share, the one form that
is right for packed rows and for windows to both sides: the kernels' own windows
look to the left alone, and their offsets of packed texts are no public
interface of JAX. Scores are never stored; the mask is, with 2 x T x T bytes a
row.

Temporary memory of a forward and backward pass, as compiled for an H100 (8 rows
of 1,024 tokens, 12 heads of 64, bf16; jax 0.12.0.1, cuDNN 9.28): 40 MiB with or
without a window, beside 161 in BlockedAttention, 218 in WindowedAttention
(window 128) and 768 in ReferenceAttention.

No device has run the kernels from here yet, so the automatic choice leaves them
out; `bert-jax check_device` compares them with the reference on your GPU. Tests
hold the same call, computed by XLA, to the reference.
"""

import dataclasses
from typing import Literal

import jax
from jax.ad_checkpoint import checkpoint_name

from bert_jax.errors import InputError
from bert_jax.models.attention.view import (
  ATTENDED,
  Shapes,
  View,
  uneven_split,
)
from bert_jax.parallel.sharding import on_each_device

# Heads that cuDNN takes on Ampere; on Hopper it takes those of 256 too, which
# no encoder has here. Source: cudnn/fused_attention_stablehlo.py of jax 0.12.
_MAX_HEAD_DIM = 128
_HEAD_DIM_MULTIPLE = 8


@dataclasses.dataclass(kw_only=True, slots=True)
class CudnnAttention:
  """Attention to whole texts or windows on an NVIDIA GPU, in bf16.

  implementation: 'xla' computes the same call with all scores at once, on any
  platform and in f32 too, for tests.
  """

  implementation: Literal['cudnn', 'xla'] = 'cudnn'

  def validate(self) -> None:
    if self.implementation not in ('cudnn', 'xla'):
      raise InputError(
        f'CudnnAttention.implementation is {self.implementation!r}; choose '
        'cudnn or xla'
      )

  def supports(self, view: View, shapes: Shapes, platform: str) -> str:
    if shapes.dropout:
      return 'it cannot drop attention weights, as attention_dropout asks'
    if self.implementation == 'cudnn':
      if refusal := _refusal(shapes):
        return refusal
      if platform not in ('gpu', 'cuda'):
        return f'it needs an NVIDIA GPU, this is a {platform}'
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

    def of_device(query_BTNH, key_BSNH, value_BSNH, segment_ids_BT):
      return jax.nn.dot_product_attention(
        query_BTNH,
        key_BSNH,
        value_BSNH,
        mask=View(segment_ids_BT, view.window).mask(),
        implementation=self.implementation,
      )

    of_heads = ('batch', 'length', 'heads', 'head_dim')
    attended_BTNH = on_each_device(
      of_device, (of_heads,) * 3 + (('batch', 'length'),), of_heads
    )(query_BTNH, key_BSNH, value_BSNH, view.segment_ids)
    return checkpoint_name(attended_BTNH, ATTENDED)


def _refusal(shapes: Shapes) -> str:
  """Returns '' or what cuDNN's kernels cannot do of a call."""
  if shapes.dtype.name != 'bfloat16':
    return f'it computes in bfloat16, this is {shapes.dtype.name}'
  if shapes.length % 2:
    return f'it needs rows of even length, these have {shapes.length} tokens'
  if shapes.head_dim % _HEAD_DIM_MULTIPLE or shapes.head_dim > _MAX_HEAD_DIM:
    return (
      f'it needs heads of a multiple of {_HEAD_DIM_MULTIPLE} up to '
      f'{_MAX_HEAD_DIM}, these have {shapes.head_dim}'
    )
  return ''
