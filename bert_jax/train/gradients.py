"""Gradient functions of one common form, which can wrap each other.

A gradient function is called as

  (loss_fn, params, frozen, batch, key) -> ((loss, sums), gradients of params)

and may call `loss_fn` as often as it likes; the step does not know which one it
runs. `in_microbatches` wraps any of them. Adversarial training is in
train/adversarial.py.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

import jax

from bert_jax.models import functional
from bert_jax.objectives.base import Batch, SumAndWeight, microbatches, summed

# A prepared batch or a part of it, and the dropout seed of each of its rows.
SeededBatch = tuple[Batch, jax.Array]
LossAndGradients = tuple[tuple[jax.Array, SumAndWeight], functional.Params]


class LossFn(Protocol):
  """A loss function: the share of some rows in the loss of the whole batch."""

  def __call__(
    self,
    params: functional.Params,
    frozen: functional.Params,
    batch: SeededBatch,
    embedding_delta: jax.Array | None = None,
  ) -> tuple[jax.Array, SumAndWeight]:
    """Returns (loss, sums and weights of the objective's figures).

    `embedding_delta`, f32 [B, T, E], is added to the output of the token
    embedding. E is the width of its table, which may be frozen.
    """
    ...


@runtime_checkable
class VectorLossFn(LossFn, Protocol):
  """The loss function of a VectorObjective, also as its two halves."""

  def vectors(
    self,
    params: functional.Params,
    frozen: functional.Params,
    batch: SeededBatch,
  ) -> jax.Array:
    """The vectors of some rows, f32 [B, ...]."""
    ...

  def of_vectors(
    self, vectors_B: jax.Array, batch: SeededBatch
  ) -> tuple[jax.Array, SumAndWeight]:
    """Returns (loss, sums and weights), as the whole function does."""
    ...


# A gradient function of (loss_fn, params, frozen, batch, key of the step).
Gradients = Callable[
  [LossFn, functional.Params, functional.Params, SeededBatch, jax.Array],
  LossAndGradients,
]


@runtime_checkable
class GradientsConfig(Protocol):
  """The config of a gradient function: a dataclass.

  Attributes:
    num_passes: The forward and backward passes that a step costs.
  """

  num_passes: ClassVar[int]

  def validate(self) -> None:
    """Raises InputError on an invalid config."""
    ...

  def build(self, table_dim: int) -> Gradients:
    """The gradient function; `table_dim` is the width E of the token table."""
    ...


@dataclasses.dataclass(kw_only=True, slots=True)
class PlainConfig:
  """Chooses the plain gradient of the loss."""

  num_passes: ClassVar[int] = 1

  def validate(self) -> None:
    """Accepts every config, since there is nothing to choose."""

  def build(self, table_dim: int) -> Gradients:
    """Returns `plain`, which does not need the table's width `table_dim`."""
    del table_dim
    return plain


def plain(
  loss_fn: LossFn,
  params: functional.Params,
  frozen: functional.Params,
  batch: SeededBatch,
  key: jax.Array,
) -> LossAndGradients:
  """The loss and its gradient, from one pass."""
  del key
  return jax.value_and_grad(loss_fn, has_aux=True)(params, frozen, batch)


def in_microbatches(gradients: Gradients, count: int) -> Gradients:
  """Runs `gradients` on each of `count` parts of the batch and adds them up."""
  if count == 1:
    return gradients

  def accumulated(loss_fn, params, frozen, batch, key):
    def of_part(part: SeededBatch) -> LossAndGradients:
      return gradients(loss_fn, params, frozen, part, key)

    return summed(of_part, microbatches(batch, count))

  return accumulated
