"""One training step, and one evaluation step, as pure functions to be jitted.

Pretraining and fine-tuning run the same ones; fine-tuning maps them over a
leading axis of seeds.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from bert_jax.models import functional
from bert_jax.models.dropout import row_seeds
from bert_jax.objectives.base import (
  Batch,
  Objective,
  SumAndWeight,
  microbatches,
)
from bert_jax.train.state import TrainState

# What each key folded from the run's key is for. No purpose may take the run's
# key itself: its own first folds would be the keys of the others.
MASKS, DROPOUT, INITIALISATION = 0, 1, 2

# 'sums' holds the objective's losses and metrics, the rest are scalars.
Metrics = dict[str, jax.Array | SumAndWeight]
TrainStep = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]


def make_train_step(
  objective: Objective,
  model: functional.Model,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  *,
  num_microbatches: int = 1,
) -> TrainStep:
  """Returns step(state, clean global batch, key of the run).

  The batch's masks depend on the key and the example numbers, dropout on the
  step as well: on neither the mesh nor the microbatches. A non-finite loss or
  gradient leaves parameters and optimizer state as they were and is counted;
  the step number goes on.
  """

  def train_step(
    state: TrainState, batch: Batch, key: jax.Array
  ) -> tuple[TrainState, Metrics]:
    dropout_key = jax.random.fold_in(
      jax.random.fold_in(key, DROPOUT), state.step
    )
    seeds_B = row_seeds(dropout_key, batch['example_number'])
    prepared = objective.prepare(
      batch, jax.random.fold_in(key, MASKS), state.step
    )
    (loss, sums), grads = _gradients(
      _total_loss(objective, model, objective.weights(prepared)),
      state.params,
      (prepared, seeds_B),
      num_microbatches,
    )
    gradient_norm = optax.tree.norm(grads)
    learning_rate = schedule(state.step)
    finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)
    state = _update(state, grads, optimizer, learning_rate, finite)
    return state, {
      'sums': sums,
      'loss': loss,
      'gradient_norm': gradient_norm,
      'learning_rate': learning_rate,
      'tokens': jnp.sum(prepared['segment_ids'] > 0),
      'nonfinite_count': state.nonfinite_count,
      'first_nonfinite_step': state.first_nonfinite_step,
      'skipped_updates': state.skipped_updates,
    }

  return train_step


def _total_loss(
  objective: Objective,
  model: functional.Model,
  weights: dict[str, jax.Array],
) -> Callable[..., tuple[jax.Array, SumAndWeight]]:
  """(params, part) -> the part's share of the whole batch's loss."""

  def total_loss(params, part):
    losses, metrics = _losses(objective, model.bind(params), *part)
    total = sum(
      objective.coefficients[name] * loss_sum / jnp.maximum(weights[name], 1)
      for name, (loss_sum, _) in losses.items()
    )
    return total, losses | metrics

  return total_loss


def _losses(
  objective: Objective,
  model: nnx.Module,
  batch: Batch,
  seeds_B: jax.Array | None,
) -> tuple[SumAndWeight, SumAndWeight]:
  encoded = objective.encode(model, batch, seeds_B)
  return objective.losses(model, encoded, seeds_B)


def _gradients(
  total_loss: Callable[..., tuple[jax.Array, SumAndWeight]],
  params: functional.Params,
  seeded_batch: tuple[Batch, jax.Array],
  num_microbatches: int,
) -> tuple[tuple[jax.Array, SumAndWeight], functional.Params]:
  """((loss, sums), gradients) of the batch, summed over its parts."""
  grad_fn = jax.value_and_grad(total_loss, has_aux=True)
  if num_microbatches == 1:
    return grad_fn(params, seeded_batch)

  def accumulate(carry, part):
    return jax.tree.map(jnp.add, carry, grad_fn(params, part)), None

  parts = microbatches(seeded_batch, num_microbatches)
  first = jax.tree.map(lambda x: x[0], parts)
  zeros = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype),
    jax.eval_shape(grad_fn, params, first),
  )
  return jax.lax.scan(accumulate, zeros, parts)[0]


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


def make_eval_step(
  objective: Objective, model: functional.Model
) -> Callable[[functional.Params, Batch, jax.Array], SumAndWeight]:
  """Returns step(params, batch, key) -> sums and weights, without dropout."""

  def eval_step(params, batch, key):
    prepared = objective.prepare(batch, key)
    losses, metrics = _losses(objective, model.bind(params), prepared, None)
    return losses | metrics

  return eval_step
