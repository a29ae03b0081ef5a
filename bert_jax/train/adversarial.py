"""FGM: adversarial training on the embeddings, with a second pass per step.

The vectors of a text's tokens are moved by `epsilon` in the direction in which
its loss rises fastest, and the loss of the moved text is added to that of the
text itself. Source: Miyato et al. 2017, https://arxiv.org/abs/1605.07725,
equation 5, whose norm is also that of a whole text and not of a batch. Unlike
the paper, this code does not normalise the vectors first, since the encoder
has a norm right after them.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.train.gradients import (
  Gradients,
  LossAndGradients,
  LossFn,
  SeededBatch,
)


@dataclasses.dataclass(kw_only=True, slots=True)
class FGMConfig:
  """Settings of FGM; `epsilon` is the length of a row's move, over all tokens.

  A step takes two passes. Figures of the moved texts are logged with
  'adversarial_' before their names, and 'loss' is the sum of both losses.
  """

  num_passes: ClassVar[int] = 2

  epsilon: float = 1.0

  def validate(self) -> None:
    if not 0 < self.epsilon < math.inf:
      raise InputError(
        f'gradients.epsilon is {self.epsilon}; it must be above 0 and finite'
      )

  def build(self, table_dim: int) -> Gradients:
    """Returns the gradient function; `table_dim` is the table's width E."""

    def fgm(
      loss_fn: LossFn,
      params: functional.Params,
      frozen: functional.Params,
      batch: SeededBatch,
      key: jax.Array,
    ) -> LossAndGradients:
      del key
      both = jax.value_and_grad(loss_fn, argnums=(0, 3), has_aux=True)
      still_BTE = jnp.zeros((*batch[0]['input_ids'].shape, table_dim))
      clean, (gradients, of_delta_BTE) = both(params, frozen, batch, still_BTE)
      delta_BTE = steepest(of_delta_BTE, self.epsilon)
      moved, more = jax.value_and_grad(loss_fn, has_aux=True)(
        params, frozen, batch, jax.lax.stop_gradient(delta_BTE)
      )
      sums = clean[1] | {
        f'adversarial_{name}': pair for name, pair in moved[1].items()
      }
      gradients = jax.tree.map(jnp.add, gradients, more)
      return (clean[0] + moved[0], sums), gradients

    return fgm


def steepest(gradient_BTE: jax.Array, epsilon: float) -> jax.Array:
  """`epsilon` times the gradient of each row, divided by the row's norm.

  A row without a gradient, such as one of weight 0, is not moved. A row of
  several texts, [B, K, T, E], is moved as a whole.
  """
  # Dividing by the largest element first keeps the squares from underflowing.
  axes = tuple(range(1, gradient_BTE.ndim))
  largest_B11 = jnp.max(jnp.abs(gradient_BTE), axis=axes, keepdims=True)
  scaled_BTE = gradient_BTE / jnp.where(largest_B11 > 0, largest_B11, 1)
  norm_B11 = jnp.sqrt(jnp.sum(scaled_BTE**2, axis=axes, keepdims=True))
  return epsilon * scaled_BTE / jnp.where(norm_B11 > 0, norm_B11, 1)
