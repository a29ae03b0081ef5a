"""Dropout whose masks are a hash: cheap, and the same on any mesh.

Every row of a batch has a seed, drawn from the run's key, the step and the
row's example number; a mask is a hash of that seed and of the place within the
row. So a mask depends neither on the split of rows over devices nor on the
microbatch of a row. It takes a few integer operations that compilers fuse;
jax.random would first write 32 bits for every element to memory (a tenth of a
training step on a CPU).
"""

import jax
import jax.numpy as jnp

# Multiplier that spreads consecutive numbers: 2^32 / the golden ratio.
_GOLDEN = 0x9E3779B9


def row_seeds(key: jax.Array, example_number_B2: jax.Array) -> jax.Array:
  """A seed uint32 [B] for each row.

  Args:
    key: A key folded from the run's key, the purpose and the step.
    example_number_B2: uint32 [B, 2], the high and the low word.
  """
  first, second = jax.random.bits(key, (2,), jnp.uint32)
  high_B, low_B = example_number_B2[:, 0], example_number_B2[:, 1]
  return mix(mix(low_B ^ first) ^ mix(high_B ^ second))


def fold(seeds_B: jax.Array | None, use: int) -> jax.Array | None:
  """Derives separate seeds for each use; None (deterministic) stays None."""
  if seeds_B is None:
    return None
  return mix(seeds_B + jnp.uint32((use + 1) * _GOLDEN % 2**32))


def fold_each(seeds_B: jax.Array | None, count: int) -> jax.Array | None:
  """Seeds [B, count], those of `fold` for each use below `count`."""
  if seeds_B is None:
    return None
  uses = jnp.arange(1, count + 1, dtype=jnp.uint32) * jnp.uint32(_GOLDEN)
  return mix(seeds_B[:, None] + uses)


@jax.named_scope('dropout')
def dropout(x: jax.Array, rate: float, seeds_B: jax.Array | None) -> jax.Array:
  """Zeroes a share `rate` of x [B, ...] and rescales the rest.

  Returns x itself if there are no seeds. A row has at most 2^32 elements.
  """
  if seeds_B is None or rate == 0:
    return x
  place = jnp.zeros((1, *x.shape[1:]), jnp.uint32)
  for axis, size in enumerate(x.shape[1:], start=1):
    # Iotas give the place, because a reshape would gather a sharded array.
    iota = jax.lax.broadcasted_iota(jnp.uint32, place.shape, axis)
    place = place * jnp.uint32(size) + iota
  keep = kept(place, rate, seeds_B)
  return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))


def kept(place: jax.Array, rate: float, seeds_B: jax.Array) -> jax.Array:
  """True where `dropout` keeps an element, bool [B, ...].

  `place`, uint32 [1, ...], is the place of each element in its row. A part of a
  row is dropped as in the whole row if its places are those of the whole row.
  """
  seeds = seeds_B.reshape(-1, *[1] * (place.ndim - 1))
  bits = mix((place * jnp.uint32(_GOLDEN)) ^ seeds)
  return bits >= jnp.uint32(round(rate * 2**32))


def mix(x: jax.Array) -> jax.Array:
  """Scrambles each uint32 with the bijection `lowbias32`.

  Each bit of x flips each bit of the result with a chance near one half.
  Source: Wellons, https://nullprogram.com/blog/2018/07/31/.
  """
  x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
  x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
  return x ^ (x >> 16)
