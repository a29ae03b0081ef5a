"""Rotary position embedding: queries and keys are turned by their positions.

The product of a turned query and a turned key then depends on their distance
alone. Source: Su et al. 2021 (https://arxiv.org/abs/2104.09864), arranged as in
GPT-NeoX, LLaMA and ModernBERT: element i of a head is paired with element
i + H/2, not with its neighbour.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Rotation(NamedTuple):
  """Cosine and sine of each pair's angle, f32 [B, T, 1, H / 2] each."""

  cos: jax.Array
  sin: jax.Array


def rotation(
  position_ids_BT: jax.Array, *, head_dim: int, theta: float
) -> Rotation:
  """Angles of positions int [B, T]: pair i turns by theta^(-2i/H) per position.

  All layers with the same theta share the result.
  """
  exponents = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
  frequencies = 1.0 / (theta**exponents)
  angles = position_ids_BT[..., None, None].astype(jnp.float32) * frequencies
  return Rotation(jnp.cos(angles), jnp.sin(angles))


@jax.named_scope('rotary')
def rotate(x_BTNH: jax.Array, by: Rotation | None) -> jax.Array:
  """Turns queries or keys [B, T, N, H] in f32; None returns them unchanged."""
  if by is None:
    return x_BTNH
  first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate(
    [first * by.cos - second * by.sin, second * by.cos + first * by.sin],
    axis=-1,
  )
  return turned.astype(x_BTNH.dtype)
