"""Products and activations: their precision forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models.layers import ACTIVATIONS
from bert_jax.models.products import dense_product, product

BF16 = jnp.dtype('bfloat16')
# The largest relative error of one rounding to bf16 (eight significant bits).
ROUNDING = 2.0**-8


def draw(*shape: int) -> np.ndarray:
  return np.random.default_rng(len(shape)).normal(size=shape)


# Products of a dense layer, of the tied vocabulary, and both of attention.
SUBSCRIPTS = {
  'ri,io->ro': ((24, 16), (16, 40)),
  're,ve->rv': ((24, 16), (40, 16)),
  'BTNH,BSNH->BNTS': ((2, 12, 3, 8), (2, 12, 3, 8)),
  'BNTS,BSNH->BTNH': ((2, 3, 12, 12), (2, 12, 3, 8)),
}


@pytest.mark.parametrize('subscripts', SUBSCRIPTS)
def test_both_directions_in_bf16(subscripts):
  """Gradients are those of the rounded operands, with sums in f32."""
  left, right = (draw(*shape) for shape in SUBSCRIPTS[subscripts])
  rounded = [np.float64(jnp.asarray(x, BF16)) for x in (left, right)]
  result = np.einsum(subscripts, *rounded)
  # Coefficients that bf16 can hold make the loss linear in the result.
  weights = np.float64(jnp.asarray(draw(*result.shape) + 1, BF16))

  def loss(left, right):
    y = product(subscripts, left, right, BF16)
    assert y.dtype == jnp.float32
    return jnp.sum(y * weights.astype(np.float32)), y

  given = (jnp.asarray(left, jnp.float32), jnp.asarray(right, BF16))
  (_, y), (to_left, to_right) = jax.jit(
    jax.value_and_grad(loss, (0, 1), has_aux=True)
  )(*given)
  np.testing.assert_allclose(y, result, rtol=0, atol=1e-5)
  of_left, of_right = subscripts.split('->')[0].split(',')
  of_result = subscripts.split('->')[1]
  assert (to_left.dtype, to_right.dtype) == (jnp.float32, BF16)
  np.testing.assert_allclose(
    to_left,
    np.einsum(f'{of_result},{of_right}->{of_left}', weights, rounded[1]),
    rtol=0,
    atol=1e-5,
  )
  np.testing.assert_allclose(
    np.float32(to_right),
    np.einsum(f'{of_result},{of_left}->{of_right}', weights, rounded[0]),
    rtol=ROUNDING,
    atol=1e-5,
  )


def test_products_in_f32_have_the_highest_precision():
  """A GPU would round operands to TF32 else, and a TPU to bf16."""

  def loss(x, kernel):
    return jnp.sum(dense_product(x, kernel, 1, jnp.dtype('float32')) ** 2)

  arguments = jnp.ones((4, 8)), jnp.ones((8, 2, 3))
  for platform in ('tpu', 'cuda'):
    text = (
      jax.jit(jax.grad(loss, (0, 1)))
      .trace(*arguments)
      .lower(lowering_platforms=(platform,))
      .as_text()
    )
    lines = [line for line in text.splitlines() if 'dot_general' in line]
    assert len(lines) == 3
    assert all('precision = [HIGHEST, HIGHEST]' in line for line in lines)


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_activations_in_bf16(name):
  """One rounding of the value and of the derivative, on the whole line.

  GELU computed in bf16 step by step was off by up to 45 % on [-3, -2).
  """
  activation = ACTIVATIONS[name]
  x = jnp.linspace(-6, 6, 4001).astype(BF16)
  exact = activation(x.astype(jnp.float32))
  slope = jax.grad(lambda x: jnp.sum(activation(x)))
  np.testing.assert_allclose(
    np.float32(activation(x)), exact, rtol=ROUNDING, atol=1e-30
  )
  np.testing.assert_allclose(
    np.float32(slope(x)),
    slope(x.astype(jnp.float32)),
    rtol=ROUNDING,
    atol=1e-30,
  )
