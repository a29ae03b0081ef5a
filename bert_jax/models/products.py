"""The one product of the model, with the same precision in both directions.

Operands are rounded to the compute dtype, forward and backward, and sums are
f32. JAX by itself would keep only the forward product so: its transpose of a
product with `preferred_element_type=float32` gets an f32 cotangent, and both
backward products are lowered as f32 x f32 for a GPU, two thirds of the FLOPs of
a step.

In compute dtype float32 all products have precision HIGHEST: without it, a GPU
rounds f32 operands to TF32 and a TPU to bf16.
"""

import functools
import math

import jax
import jax.numpy as jnp


def product(
  subscripts: str, left: jax.Array, right: jax.Array, dtype: jnp.dtype
) -> jax.Array:
  """The einsum of two arrays, f32, with operands rounded to `dtype`.

  Each letter of an operand must stand in the other operand or in the result.

  Gradients have the dtypes of the operands as they were given: f32 for f32
  parameters, the compute dtype for activations in it.
  """
  if dtype == jnp.float32:
    return _einsum(subscripts, left.astype(dtype), right.astype(dtype))
  return _rounded_product(subscripts, left, right, dtype)


def dense_product(
  x: jax.Array, kernel: jax.Array, num_in: int, dtype: jnp.dtype
) -> jax.Array:
  """x [..., in] times kernel [in, out] over the last `num_in` axes of x; f32.

  This is a single product of two matrices, whatever the number of axes: every
  backend has a fast path for that, in the gradients too, and head splitting
  stays out of the compiled program.
  """
  kept_shape, in_shape = x.shape[: x.ndim - num_in], x.shape[x.ndim - num_in :]
  assert in_shape == kernel.shape[:num_in], (x.shape, kernel.shape)
  in_size = math.prod(in_shape)
  y = product(
    'ri,io->ro', x.reshape(-1, in_size), kernel.reshape(in_size, -1), dtype
  )
  return y.reshape(*kept_shape, *kernel.shape[num_in:])


def _einsum(subscripts: str, left: jax.Array, right: jax.Array) -> jax.Array:
  is_f32 = left.dtype == jnp.float32
  einsum = functools.partial(
    jnp.einsum,
    subscripts,
    precision=jax.lax.Precision.HIGHEST if is_f32 else None,
    preferred_element_type=jnp.float32,
  )
  if is_f32 or left.ndim == 2:
    return einsum(left, right)
  # XLA has no kernel on CPU for some batched products of bf16 with f32 sums
  # ('BTNH,BNTS->BSNH' of jax 0.12 ends with UNIMPLEMENTED). Products of bf16
  # numbers are exact in f32, so that this changes no more than the order of
  # the sums.
  return jax.lax.platform_dependent(
    left,
    right,
    cpu=lambda left, right: einsum(
      left.astype(jnp.float32), right.astype(jnp.float32)
    ),
    default=einsum,
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def _rounded_product(
  subscripts: str, left: jax.Array, right: jax.Array, dtype: jnp.dtype
) -> jax.Array:
  return _einsum(subscripts, left.astype(dtype), right.astype(dtype))


def _forward(subscripts, left, right, dtype):
  # Operands are kept as they were given: a parameter stays in memory anyway.
  return _rounded_product(subscripts, left, right, dtype), (left, right)


def _backward(subscripts, dtype, kept, cotangent):
  left, right = kept
  operands, result = subscripts.split('->')
  of_left, of_right = operands.split(',')
  cotangent = cotangent.astype(dtype)
  to_left = _einsum(
    f'{result},{of_right}->{of_left}', cotangent, right.astype(dtype)
  )
  to_right = _einsum(
    f'{of_left},{result}->{of_right}', left.astype(dtype), cotangent
  )
  return to_left.astype(left.dtype), to_right.astype(right.dtype)


_rounded_product.defvjp(_forward, _backward)
