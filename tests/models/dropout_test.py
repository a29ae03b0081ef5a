"""Dropout: its rate, and masks that are independent and belong to a row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models.dropout import dropout, fold, row_seeds
from bert_jax.parallel.mesh import MeshConfig
from bert_jax.parallel.sharding import batch_sharding

KEY = jax.random.key(7)


def seeds(num_rows: int, first: int = 0, key=KEY) -> jax.Array:
  numbers = np.arange(first, first + num_rows, dtype=np.uint64)
  words = np.stack([numbers >> np.uint64(32), numbers & np.uint64(2**32 - 1)])
  return row_seeds(key, jnp.asarray(words.T.astype(np.uint32)))


def masks(seeds_B, shape=(512,), rate=0.5) -> np.ndarray:
  """-1 where an element is dropped, 1 where it is kept; [B, ...]."""
  ones = jnp.ones((len(seeds_B), *shape))
  return np.where(np.asarray(dropout(ones, rate, seeds_B)) > 0, 1, -1)


def test_without_seeds_or_rate_nothing_changes():
  x = jnp.arange(6.0).reshape(2, 3)
  assert dropout(x, 0.5, None) is x
  assert dropout(x, 0.0, seeds(2)) is x
  assert fold(None, 3) is None


@pytest.mark.parametrize('rate', [0.001, 0.1, 0.25, 0.5, 0.9])
def test_rate_and_scale(rate):
  dropped = np.asarray(dropout(jnp.full((64, 50, 100), 3.0), rate, seeds(64)))
  kept = dropped[dropped != 0]
  np.testing.assert_allclose(kept, 3 / (1 - rate), rtol=1e-6)
  share = 1 - kept.size / dropped.size
  # Four standard deviations of as many independent draws.
  bound = 4 * np.sqrt(rate * (1 - rate) / dropped.size)
  assert abs(share - rate) < bound
  # In every row as well, and in every column.
  for axes, count in (((1, 2), 5000), ((0, 1), 3200), ((0, 2), 6400)):
    shares = (dropped == 0).mean(axis=axes)
    assert np.abs(shares - rate).max() < 5 * np.sqrt(rate * (1 - rate) / count)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
  """In standard deviations of independent fair signs."""
  return float(np.sum(a * b, dtype=np.int64) / np.sqrt(a.size))


@pytest.mark.parametrize('lag', [1, 2, 3, 64, 256])
def test_neighbours_are_independent(lag):
  signs = masks(seeds(2000))
  assert abs(correlation(signs[:, lag:], signs[:, :-lag])) < 4
  assert abs(correlation(signs[lag:], signs[:-lag])) < 4


def test_uses_steps_and_distant_examples_are_independent():
  one = seeds(1000)
  others = {
    'another use': fold(one, 0),
    'its neighbour': fold(one, 1),
    'a use within a use': fold(fold(one, 0), 0),
    'another step': seeds(1000, key=jax.random.fold_in(KEY, 1)),
    'past 2^32': seeds(1000, first=2**32),
  }
  drawn = {name: masks(found) for name, found in others.items()}
  drawn['itself'] = masks(one)
  names = list(drawn)
  for number, name in enumerate(names):
    for other in names[:number]:
      assert abs(correlation(drawn[name], drawn[other])) < 4.5, (name, other)


def test_pairs_and_triples_of_bits_are_evenly_spread():
  """Chi-square of eight consecutive masks of a row, 255 degrees of freedom."""
  bits = (masks(seeds(4096), (64,)) > 0).reshape(-1, 8)
  counts = np.bincount(np.packbits(bits, axis=1)[:, 0], minlength=256)
  expected = len(bits) / 256
  chi_square = ((counts - expected) ** 2 / expected).sum()
  assert 165 < chi_square < 365  # both tails beyond one in 100,000


def test_a_mask_belongs_to_its_row_and_not_to_its_place_in_the_batch():
  x = jnp.ones((8, 4, 6))
  whole = dropout(x, 0.5, seeds(8))
  np.testing.assert_array_equal(
    dropout(x[:2], 0.5, seeds(2, first=3)), whole[3:5]
  )


def test_every_mesh_draws_the_same():
  x = jnp.ones((8, 4, 6))
  expected = dropout(x, 0.5, seeds(8))
  mesh = MeshConfig(data=4, fsdp=2).build()
  with jax.set_mesh(mesh):
    placed = jax.device_put((x, seeds(8)), batch_sharding(mesh))
    found = jax.jit(dropout, static_argnums=1)(placed[0], 0.5, placed[1])
    assert len(found.sharding.device_set) == 8
  np.testing.assert_array_equal(found, expected)


def test_the_gradient_passes_where_the_value_does():
  x = jnp.arange(1.0, 25.0).reshape(2, 12)
  gradient = jax.grad(lambda x: jnp.sum(dropout(x, 0.25, seeds(2))))(x)
  np.testing.assert_allclose(gradient, dropout(x, 0.25, seeds(2)) / x)
