"""Attention by blocks: the same numbers as the reference, less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models.attention.choose import choose
from bert_jax.models.attention.reference import ReferenceAttention
from bert_jax.models.attention.view import Shapes, View
from bert_jax.models.attention.windowed import WindowedAttention
from bert_jax.models.dropout import fold, fold_each, row_seeds

# 1 to 5 packed texts a row, some shorter than the window; then padding.
TEXT_LENGTHS = ((100,), (30, 3, 1, 50, 9), (45, 48))
LENGTH = 100
BLOCKED = WindowedAttention()


def segment_ids(length: int = LENGTH) -> jax.Array:
  rows = np.zeros((len(TEXT_LENGTHS), length), np.int32)
  for row, lengths in zip(rows, TEXT_LENGTHS, strict=True):
    ends = np.cumsum(lengths)
    for number, (end, size) in enumerate(
      zip(ends, lengths, strict=True), start=1
    ):
      row[end - size : end] = number
  return jnp.asarray(rows)


def heads(seed: int, length: int = LENGTH) -> jax.Array:
  return jax.random.normal(
    jax.random.key(seed), (len(TEXT_LENGTHS), length, 2, 8)
  )


def attend(backend, query, key, value, *, window, **dropout):
  view = View(segment_ids(query.shape[1]), window)
  return backend.attend(query, key, value, view, **dropout)


# Blocks that the window fills, blocks larger than the window, one larger than
# half of the row, and one larger than the row.
@pytest.mark.parametrize('window', [40, 6, 120, 250])
def test_blocks_equal_the_reference(window):
  inputs = heads(0), heads(1), heads(2)
  weight = heads(3)

  def run(backend):
    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
    def weighted_sum(*inputs):
      attended = attend(backend, *inputs, window=window)
      return jnp.sum(attended * weight), attended

    (_, attended), gradients = jax.jit(weighted_sum)(*inputs)
    return attended, *gradients

  for found, expected in zip(
    run(BLOCKED), run(ReferenceAttention()), strict=True
  ):
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_window_ends_with_its_last_token():
  """A query's gradient reaches exactly `window` / 2 tokens to either side."""
  query, key, value = heads(0), heads(1), heads(2)

  def one_query(value):
    return jnp.sum(attend(BLOCKED, query, key, value, window=20)[0, 50])

  gradient_BTNH = jax.jit(jax.grad(one_query))(value)
  (reached,) = np.nonzero(np.abs(gradient_BTNH[0]).sum(axis=(1, 2)))
  assert reached.tolist() == list(range(40, 61))


def test_memory_grows_with_the_row_and_not_with_its_square():
  def temporary_bytes(backend, length):
    # Only the first 100 columns hold text; shapes are what counts here.
    inputs = [
      jax.ShapeDtypeStruct((3, length, 2, 8), jnp.float32) for _ in range(3)
    ]
    gradients = jax.grad(
      lambda *inputs: jnp.sum(attend(backend, *inputs, window=32) ** 2),
      argnums=(0, 1, 2),
    )
    compiled = jax.jit(gradients).lower(*inputs).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  short, long = (temporary_bytes(BLOCKED, length) for length in (1024, 4096))
  # Four times the row: four times the memory, and a constant.
  assert long < 4.2 * short
  by_square = [
    temporary_bytes(ReferenceAttention(), length) for length in (1024, 4096)
  ]
  assert by_square[1] > 15 * by_square[0]
  assert long < by_square[1] / 20


def test_dropout_of_blocks_belongs_to_rows():
  """Its rate, and that a row's mask is its own wherever the row stands."""
  numbers = np.stack([np.zeros(3), np.arange(3)], axis=1).astype(np.uint32)
  seeds_B = row_seeds(jax.random.key(0), jnp.asarray(numbers))
  # Values of 1 show the sums of the weights that were kept.
  ones = jnp.ones((3, LENGTH, 2, 8))

  @jax.jit
  def kept(rows):
    return BLOCKED.attend(
      heads(0)[rows],
      heads(1)[rows],
      ones[rows],
      View(segment_ids()[rows], 20),
      dropout_rate=0.25,
      dropout_seeds_B=seeds_B[rows],
    )[..., 0]

  whole = kept(jnp.arange(3))
  moved = jnp.asarray([2, 0, 1])
  np.testing.assert_array_equal(kept(moved), whole[moved])
  assert abs(float(whole.mean()) - 1) < 0.05
  assert float(whole.std()) > 0.1


def test_seeds_of_blocks_are_those_of_as_many_uses():
  seeds_B = jnp.asarray([1, 7], jnp.uint32)
  expected = np.stack([fold(seeds_B, use) for use in range(5)], axis=1)
  np.testing.assert_array_equal(fold_each(seeds_B, 5), expected)
  assert fold_each(None, 5) is None


def test_only_rows_longer_than_three_blocks_are_cut():
  def chosen(length, window):
    view = View(jnp.zeros((1, length), jnp.int32), window)
    shapes = Shapes(1, length, 2, 8, jnp.dtype('float32'), dropout=False)
    return choose((), view, shapes)

  assert isinstance(chosen(96, window=64), ReferenceAttention)
  assert isinstance(chosen(97, window=64), WindowedAttention)
  assert isinstance(chosen(97, window=0), ReferenceAttention)
