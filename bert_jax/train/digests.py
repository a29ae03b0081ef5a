"""A number for each array that any flipped bit changes, equal on any mesh."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.models import functional
from bert_jax.models.dropout import mix

# The version is stored with the digests, so that a checkpoint is verified by
# the function that it was written with. Version 1 multiplied each word by an
# odd weight of its place, and missed a swap of x and -x.
VERSION = 2


def array_digests(tree: Any, version: int = VERSION) -> dict[str, int]:
  """A 32-bit number for each array, equal on any mesh.

  The sum, modulo 2^32, of a hash of every word and its place. The hash is a
  bijection of the word, so a change within one word, such as a flipped bit, is
  always seen; any other change, such as a swap, is missed with a chance of
  2^-32.

  Args:
    tree: Arrays of at most 32 bits an element, on devices or on the host.
    version: The version that a checkpoint records; VERSION for new ones.

  Returns:
    {path: digest}.
  """
  return {
    path: int(value)
    for path, value in jax.device_get(
      _digests(functional.flatten(tree), version)
    ).items()
  }


@functools.partial(jax.jit, static_argnums=1)
def _digests(flat: dict[str, jax.Array], version: int) -> dict[str, jax.Array]:
  return {
    path: _digest(jnp.asarray(array), version) for path, array in flat.items()
  }


def _digest(array: jax.Array, version: int) -> jax.Array:
  if array.dtype == jnp.bool_:
    array = array.astype(jnp.uint8)
  word = jnp.dtype(f'uint{8 * array.dtype.itemsize}')
  words = jax.lax.bitcast_convert_type(array, word).astype(jnp.uint32)
  # The flat index is made from iotas: a reshape would gather a sharded array.
  index = jnp.zeros(array.shape, jnp.uint32)
  for axis, size in enumerate(array.shape):
    iota = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    index = index * jnp.uint32(size) + iota
  if version == 1:
    return jnp.sum(words * (2 * index + 1), dtype=jnp.uint32)
  return jnp.sum(mix(words ^ mix(index)), dtype=jnp.uint32)
