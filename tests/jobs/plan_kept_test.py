"""Arrays that a compiler keeps of a program for its backward pass."""

import jax
import jax.numpy as jnp
import pytest

from bert_jax.jobs.plan_kept import kept

pytestmark = pytest.mark.accelerator

X = jax.ShapeDtypeStruct((1024, 64), jnp.float32)


def sizes(function, *arguments, platform='gpu') -> list[str]:
  jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
  return sorted(
    f'{array.dtype} {array.shape}' for array in kept(jaxpr, platform)
  )


def test_what_is_there_in_any_case_counts_nothing():
  assert sizes(lambda x: (x, x.astype(jnp.bfloat16) * 2), X) == []


def test_a_copy_in_f32_is_made_again_from_bf16():
  def residuals(x):
    small = jnp.dot(x, x.T).astype(jnp.bfloat16)
    large = small.astype(jnp.float32)
    return large, large > 0, jnp.where(large > 0, large, 0.0)

  assert sizes(residuals, X) == ['bfloat16 (1024, 1024)']


def test_a_mask_that_hashes_its_places_costs_nothing():
  def residuals(x):
    places = jax.lax.iota(jnp.uint32, x.size).reshape(x.shape)
    return x * ((places ^ (places >> 3)) < 100)

  assert sizes(residuals, X) == []


def test_the_fewest_bytes_are_kept():
  """A sum is kept in place of its two terms; if both are wanted, the terms."""

  def residuals(x, wanted: int):
    terms = jnp.exp(x), jnp.sin(x)
    return (terms[0] + terms[1], *terms)[:wanted]

  assert sizes(lambda x: residuals(x, 1), X) == ['float32 (1024, 64)']
  assert sizes(lambda x: residuals(x, 3), X) == 2 * ['float32 (1024, 64)']


def test_only_libtpu_divides_again():
  def residuals(x):
    powers = jnp.exp(x)
    return powers, powers / jnp.sum(powers, 1, keepdims=True)

  whole, sums = 'float32 (1024, 64)', 'float32 (1024,)'
  assert sizes(residuals, X, platform='tpu') == [whole, sums]
  assert sizes(residuals, X) == [whole, whole]


def test_calls_are_looked_into_and_loops_are_not():
  @jax.jit
  def copy(x):
    return x.astype(jnp.bfloat16)

  assert sizes(lambda x: (copy(x), copy(x) + 1), X) == []

  def loop(x):
    return jax.lax.scan(lambda carry, _: (carry, carry * 2), x, length=3)[1]

  assert sizes(loop, X) == ['float32 (3, 1024, 64)']
