"""One training step, and one evaluation step, as pure functions to be jitted.

Pretraining and fine-tuning run the same steps; fine-tuning maps them over a
leading axis of seeds.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.models.dropout import row_seeds
from bert_jax.objectives.base import (
  Batch,
  Objective,
  SumAndWeight,
  VectorObjective,
)
from bert_jax.peft.base import FullTuning
from bert_jax.train import gradients as gradient_functions
from bert_jax.train.gradients import Gradients, SeededBatch
from bert_jax.train.state import TrainState

# The purposes of the keys folded from the run's key. No purpose may take the
# run's key itself: its first folds would equal the keys of other purposes.
MASKS, DROPOUT, INITIALISATION = 0, 1, 2

# Fields of the state that are metrics of each step.
_COUNTERS = ('nonfinite_count', 'first_nonfinite_step', 'skipped_updates')
# The metrics of a step: 'sums' holds the objective's, the rest are scalars.
Metrics = dict[str, jax.Array | SumAndWeight]
TrainStep = Callable[
  [TrainState, functional.Params, Batch, jax.Array],
  tuple[TrainState, Metrics],
]
# A function (trainable, frozen) -> the parameters of the whole model.
Join = Callable[[functional.Params, functional.Params], functional.Params]
all_trainable: Join = FullTuning().join


def make_train_step(
  objective: Objective,
  model: functional.Model,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  *,
  gradients: Gradients = gradient_functions.plain,
  num_microbatches: int = 1,
  join: Join = all_trainable,
  average_decay: float = 0.0,
) -> TrainStep:
  """Returns step(state, frozen, clean global batch, key of the run).

  `frozen` holds the parameters that `join` adds to those of the state, {} in
  plain training; never updated. `average_decay` is explained in `_averaged`.

  The batch's masks depend on the key and the example numbers, dropout on the
  step as well; neither depends on the mesh or the microbatches. A non-finite
  loss or gradient leaves parameters and optimizer state as they were and is
  counted; the step number goes on.
  """

  make_loss = _loss_class(objective, num_microbatches)
  gradients = gradient_functions.in_microbatches(gradients, num_microbatches)

  def train_step(
    state: TrainState,
    frozen: functional.Params,
    batch: Batch,
    key: jax.Array,
  ) -> tuple[TrainState, Metrics]:
    dropout_key = jax.random.fold_in(
      jax.random.fold_in(key, DROPOUT), state.step
    )
    seeds_B = row_seeds(dropout_key, batch['example_number'])
    prepared = objective.prepare(
      batch, jax.random.fold_in(key, MASKS), state.step
    )
    (loss, sums), grads = gradients(
      make_loss(objective, model, join, objective.weights(prepared)),
      state.params,
      frozen,
      (prepared, seeds_B),
      dropout_key,
    )
    gradient_norm = optax.tree.norm(grads)
    learning_rate: Any = schedule(state.step)
    finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)
    state = _update(state, grads, optimizer, learning_rate, finite)
    state = _averaged(state, average_decay, finite)
    return state, {
      'sums': sums,
      'loss': loss,
      'gradient_norm': gradient_norm,
      'learning_rate': learning_rate,
      'tokens': jnp.sum(prepared['segment_ids'] > 0),
      **{name: getattr(state, name) for name in _COUNTERS},
    }

  return train_step


@dataclasses.dataclass(frozen=True)
class _Loss:
  """The loss of a part of the batch, as its share of the whole: a LossFn."""

  objective: Objective
  model: functional.Model
  join: Join
  weights: dict[str, jax.Array]

  def __call__(
    self,
    params: functional.Params,
    frozen: functional.Params,
    batch: SeededBatch,
    embedding_delta: jax.Array | None = None,
  ) -> tuple[jax.Array, SumAndWeight]:
    prepared, seeds_B = batch
    if embedding_delta is not None:
      prepared = prepared | {'embedding_delta': embedding_delta}
    bound = self.model.bind(self.join(params, frozen))
    return self._total(*_losses(self.objective, bound, prepared, seeds_B))

  def _total(
    self, losses: SumAndWeight, metrics: SumAndWeight
  ) -> tuple[jax.Array, SumAndWeight]:
    total: Any = sum(
      self.objective.coefficients[name]
      * loss_sum
      / jnp.maximum(self.weights[name], 1)
      for name, (loss_sum, _) in losses.items()
    )
    return total, losses | metrics


class _LossOfVectors(_Loss):
  """The loss of a VectorObjective, also in two halves: a VectorLossFn."""

  def vectors(
    self,
    params: functional.Params,
    frozen: functional.Params,
    batch: SeededBatch,
  ) -> jax.Array:
    bound = self.model.bind(self.join(params, frozen))
    return self.objective.encode(bound, *batch)['vectors']

  def of_vectors(
    self, vectors_B: jax.Array, batch: SeededBatch
  ) -> tuple[jax.Array, SumAndWeight]:
    prepared, seeds_B = batch
    encoded = prepared | {'vectors': vectors_B}
    # The losses of a VectorObjective do not look at the model.
    return self._total(*self.objective.losses(None, encoded, seeds_B))


def _losses(
  objective: Objective,
  model: nnx.Module,
  batch: Batch,
  seeds_B: jax.Array | None,
) -> tuple[SumAndWeight, SumAndWeight]:
  encoded = objective.encode(model, batch, seeds_B)
  return objective.losses(model, encoded, seeds_B)


def _loss_class(objective: Objective, num_microbatches: int) -> type[_Loss]:
  """The class of an objective's loss.

  Raises InputError if microbatches would part examples that it compares.
  """
  if not isinstance(objective, VectorObjective):
    return _Loss
  if num_microbatches > 1 and objective.couples_examples:
    raise InputError(
      f'num_microbatches={num_microbatches} would compare the examples of each '
      'part alone, and this loss compares all of a batch; leave it out and '
      f'give --config.gradients.num_parts={num_microbatches} (gradients='
      'CachedConfig() in the experiment file), which is exact'
    )
  return _LossOfVectors


@jax.named_scope('optimizer')
def _update(
  state: TrainState,
  grads: functional.Params,
  optimizer: optax.GradientTransformation,
  learning_rate: jax.Array,
  finite: jax.Array,
) -> TrainState:
  updates, optimizer_state = optimizer.update(
    grads, state.optimizer_state, state.params
  )
  params = jax.tree.map(
    lambda param, update: param + learning_rate * update, state.params, updates
  )

  def keep_old_unless_finite(new, old):
    return jnp.where(finite, new, old)

  count = jnp.where(finite, 0, state.nonfinite_count + 1)
  first = jnp.where(count == 1, state.step, state.first_nonfinite_step)
  return dataclasses.replace(
    state,
    step=state.step + 1,
    params=jax.tree.map(keep_old_unless_finite, params, state.params),
    optimizer_state=jax.tree.map(
      keep_old_unless_finite, optimizer_state, state.optimizer_state
    ),
    nonfinite_count=count,
    first_nonfinite_step=jnp.where(finite, -1, first),
    skipped_updates=state.skipped_updates + ~finite,
  )


def _averaged(
  state: TrainState, average_decay: float, finite: jax.Array
) -> TrainState:
  """The state after an update, with its parameters in the average, if any.

  Step t, from 0, sets the average A to d A + (1 - d) params, where d is at most
  (1 + t) / (10 + t), as in TensorFlow's ExponentialMovingAverage: the start is
  soon forgotten. An `average_decay` of 0 is for a state without an average.
  """
  if not average_decay:
    return state
  number = state.step.astype(jnp.float32)  # t + 1
  decay = jnp.minimum(average_decay, number / (9 + number))
  average = jax.tree.map(
    lambda old, new: jnp.where(finite, old + (1 - decay) * (new - old), old),
    state.average,
    state.params,
  )
  return dataclasses.replace(state, average=average)


def make_eval_step(
  objective: Objective,
  model: functional.Model,
  *,
  join: Join = all_trainable,
) -> Callable[..., SumAndWeight]:
  """Returns step(params, frozen, batch, key) -> sums and weights.

  There is no dropout. `frozen` and `join` are those of `make_train_step`.
  """

  def eval_step(params, frozen, batch, key):
    bound = model.bind(join(params, frozen))
    prepared = objective.prepare(batch, key)
    losses, metrics = _losses(objective, bound, prepared, None)
    return losses | metrics

  return eval_step
