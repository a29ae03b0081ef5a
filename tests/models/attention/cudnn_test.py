"""Kernels of cuDNN: when they are refused, and what is asked of them.

backends_test.py compares the same call, computed by XLA, with the reference.
"""

import jax
import jax.numpy as jnp
import pytest

from bert_jax.errors import InputError
from bert_jax.models.attention.choose import choose
from bert_jax.models.attention.cudnn import CudnnAttention
from bert_jax.models.attention.view import Shapes, View


def shapes(**changed) -> Shapes:
  fields = dict(
    batch_size=4,
    length=64,
    num_heads=2,
    head_dim=64,
    dtype=jnp.dtype('bfloat16'),
    dropout=False,
  )
  return Shapes(**fields | changed)


def view(length=64, window=0) -> View:
  return View(jnp.zeros((4, length), jnp.int32), window)


@pytest.mark.parametrize('window', [0, 16])
def test_packed_rows_of_bf16_are_taken_with_and_without_a_window(window):
  call = view(window=window), shapes(), 'gpu'
  assert choose((CudnnAttention(),), *call) == CudnnAttention()
  assert choose((), *call) != CudnnAttention()


@pytest.mark.parametrize(
  ('changed', 'platform', 'message'),
  [
    ({}, 'tpu', 'it needs an NVIDIA GPU, this is a tpu'),
    ({'dropout': True}, 'gpu', 'it cannot drop attention weights'),
    ({'dtype': jnp.dtype('float32')}, 'gpu', 'bfloat16, this is float32'),
    ({'length': 63}, 'gpu', 'rows of even length, these have 63 tokens'),
    ({'head_dim': 36}, 'gpu', 'a multiple of 8 up to 128, these have 36'),
    ({'head_dim': 136}, 'gpu', 'a multiple of 8 up to 128, these have 136'),
  ],
)
def test_what_the_kernels_cannot_do_is_refused_by_name(
  changed, platform, message
):
  with pytest.raises(InputError, match=f'not CudnnAttention: .*{message}'):
    choose((CudnnAttention(),), view(), shapes(**changed), platform)


def test_another_implementation_is_refused():
  with pytest.raises(InputError, match="'triton'; choose cudnn or xla"):
    CudnnAttention(implementation='triton').validate()


def test_the_kernels_get_the_view_as_a_mask(monkeypatch):
  """Without a mask, kernels would see every text of a row."""
  asked = {}

  def attention(query, key, value, **arguments):
    asked.update(arguments)
    return value

  monkeypatch.setattr(jax.nn, 'dot_product_attention', attention)
  ids = jnp.asarray([[1, 1, 2, 2, 2, 0]])
  heads = jnp.zeros((1, 6, 2, 8), jnp.bfloat16)
  CudnnAttention().attend(heads, heads, heads, View(ids, window=2))
  assert asked.pop('implementation') == 'cudnn'
  assert (asked.pop('mask') == View(ids, window=2).mask()).all()
  assert not asked
