"""GradCache: the exact gradient of a loss that compares a batch's examples.

Parts of the batch are encoded one by one, and their vectors kept. The loss of
all vectors gives the gradient of each; then the parts are encoded again, and
their share of the gradient is added up. So memory is that of one part, and the
loss that of the whole batch. Source: Gao et al. 2021,
https://arxiv.org/abs/2101.06983, section 3.2.
"""

import dataclasses
from typing import ClassVar

import jax

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.objectives.base import microbatches, summed
from bert_jax.parallel.sharding import devices_along
from bert_jax.train.gradients import (
  Gradients,
  LossAndGradients,
  LossFn,
  SeededBatch,
  VectorLossFn,
  plain,
)


@dataclasses.dataclass(kw_only=True, slots=True)
class CachedConfig:
  """Settings of GradCache; a batch is encoded in `num_parts` parts.

  With 1 it is the plain gradient. With more, each text is encoded once more.
  """

  num_passes: ClassVar[int] = 1

  num_parts: int = 1

  def validate(self) -> None:
    if self.num_parts < 1:
      raise InputError(
        f'gradients.num_parts is {self.num_parts}; it must be 1 or more'
      )

  def build(self, table_dim: int) -> Gradients:
    """Returns the gradient function, which needs no `table_dim`."""
    del table_dim
    if self.num_parts == 1:
      return plain

    def cached(
      loss_fn: LossFn,
      params: functional.Params,
      frozen: functional.Params,
      batch: SeededBatch,
      key: jax.Array,
    ) -> LossAndGradients:
      del key
      if not isinstance(loss_fn, VectorLossFn):
        raise InputError(
          f'gradients.num_parts={self.num_parts} is for losses on vectors '
          '(sentence embeddings); give num_microbatches for this one'
        )
      return _in_parts(loss_fn, params, frozen, batch, self.num_parts)

    return cached


def _in_parts(
  loss_fn: VectorLossFn,
  params: functional.Params,
  frozen: functional.Params,
  batch: SeededBatch,
  num_parts: int,
) -> LossAndGradients:
  num_rows = len(batch[1])
  step = num_parts * devices_along('batch')
  if num_rows % step:
    raise InputError(
      f'gradients.num_parts={num_parts}: a part of batch_size={num_rows} is '
      f'not the same on all devices; choose a batch_size that is a multiple of '
      f'{step}'
    )
  parts = microbatches(batch, num_parts)
  found = jax.lax.map(lambda part: loss_fn.vectors(params, frozen, part), parts)
  # The order of the batch is restored: row i lies in part i % num_parts.
  vectors_B = found.swapaxes(0, 1).reshape(num_rows, *found.shape[2:])
  of_vectors = jax.value_and_grad(loss_fn.of_vectors, has_aux=True)
  loss_and_sums, gradient_B = of_vectors(vectors_B, batch)

  def of_part(part_and_gradient) -> functional.Params:
    part, gradient = part_and_gradient
    _, pull_back = jax.vjp(lambda p: loss_fn.vectors(p, frozen, part), params)
    return pull_back(gradient)[0]

  grads = summed(of_part, (parts, microbatches(gradient_B, num_parts)))
  return loss_and_sums, grads
