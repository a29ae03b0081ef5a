"""A number for each array that any flipped bit changes, equal on any mesh."""

from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.models import functional


def array_digests(tree: Any) -> dict[str, int]:
  """A 32-bit number for each array, equal on any mesh.

  The sum over its words times odd position weights, modulo 2^32: one flipped
  bit always changes it, and so does a swap of two unequal neighbours.
  """
  return {
    path: int(value)
    for path, value in jax.device_get(
      _digests(functional.flatten(tree))
    ).items()
  }


@jax.jit
def _digests(flat: dict[str, jax.Array]) -> dict[str, jax.Array]:
  return {path: _digest(jnp.asarray(array)) for path, array in flat.items()}


def _digest(array: jax.Array) -> jax.Array:
  if array.dtype == jnp.bool_:
    array = array.astype(jnp.uint8)
  word = jnp.dtype(f'uint{8 * array.dtype.itemsize}')
  words = jax.lax.bitcast_convert_type(array, word).astype(jnp.uint32)
  # The flat index by iotas: a reshape would gather a sharded array.
  index = jnp.zeros(array.shape, jnp.uint32)
  for axis, size in enumerate(array.shape):
    iota = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    index = index * jnp.uint32(size) + iota
  return jnp.sum(words * (2 * index + 1), dtype=jnp.uint32)
