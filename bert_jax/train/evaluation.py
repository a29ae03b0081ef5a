"""Evaluation during a run; held-out losses with fixed masks.

Every held-out row is counted once, whatever the batch size and the mesh.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

from bert_jax.data.reading.device_feed import place_batch
from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.objectives.base import SumAndWeight
from bert_jax.parallel.sharding import batch_sharding, devices_along
from bert_jax.stopping import StopSignal
from bert_jax.train.state import TrainState, host_step


@dataclasses.dataclass(kw_only=True, slots=True)
class EvaluationConfig:
  """Evaluates every `every_steps`, over the first `max_rows` rows (0: all).

  `seed` draws the masks, which stay the same for every evaluation of every
  run, so that figures compare across runs.
  """

  every_steps: int = 1000
  batch_size: int = 64
  max_rows: int = 1024
  seed: int = 0

  def validate(self) -> None:
    if self.every_steps < 1 or self.batch_size < 1 or self.max_rows < 0:
      raise InputError(
        f'evaluation.every_steps={self.every_steps} and batch_size='
        f'{self.batch_size} must be 1 or more, max_rows={self.max_rows} '
        'must be 0 or more'
      )


@dataclasses.dataclass(kw_only=True)
class Evaluation:
  """Records to write; `scores` f32 [seeds] where the best is kept."""

  records: list[dict[str, Any]]
  scores: np.ndarray | None = None


class Evaluator(Protocol):
  """The evaluation that the loop runs between two steps."""

  def warm_up(self, params: functional.Params) -> None:
    """Evaluates one batch, before the first step.

    A mistake or too little memory shows at once, and no signal has to wait for
    a compilation later.
    """
    ...

  def run(self, state: TrainState, stop: StopSignal) -> Evaluation | None:
    """Returns what was found; None where the stop signal came first."""
    ...


class RowsInOrder:
  """The rows of a corpus in order; past the end, rows of weight 0.

  The rows of weight 0 make the last batch as large as the others, and nothing
  is counted twice. `read` maps row indices int64 [n] to arrays by name, each
  [n, ...]: 'input_ids', and whatever else a batch needs.
  """

  def __init__(
    self,
    read: Callable[[np.ndarray], dict[str, np.ndarray]],
    num_rows: int,
  ):
    self._read = read
    self.num_rows = num_rows

  def batches(self, batch_size: int) -> Iterator[np.ndarray]:
    """Example numbers uint64 [batch_size], the last ones past the end."""
    for first in range(0, self.num_rows, batch_size):
      yield np.arange(first, first + batch_size, dtype=np.uint64)

  def batch(self, example_numbers: np.ndarray) -> dict[str, np.ndarray]:
    rows = example_numbers.astype(np.int64)
    inside = rows < self.num_rows
    zeros = np.zeros_like(rows)
    return {
      **self._read(np.where(inside, rows, 0)),
      'example_number': np.stack([zeros, rows], 1).astype(np.uint32),
      'row_weights': inside.astype(np.float32),
    }


class HeldOutLosses:
  """Losses and metrics on the held-out rows of each corpus: an Evaluator.

  Args:
    eval_step: as make_eval_step returns it, jitted.
    held_out: the rows of each corpus by its name in the records; may be empty.
    config: batch size, and the seed of the masks.

  It belongs to the mesh that is set when it is made.
  """

  def __init__(
    self,
    eval_step: Callable[..., SumAndWeight],
    held_out: dict[str, RowsInOrder],
    config: EvaluationConfig,
  ):
    mesh = jax.sharding.get_mesh()
    devices = devices_along('batch', mesh)
    self._eval_step = eval_step
    self._held_out = held_out
    self._key = jax.random.key(config.seed)
    self._sharding = batch_sharding(mesh)
    self._batch_size = -(-config.batch_size // devices) * devices

  def warm_up(self, params: functional.Params) -> None:
    for rows in list(self._held_out.values())[:1]:
      numbers = next(rows.batches(self._batch_size))
      batch = place_batch(rows, numbers, self._sharding)
      jax.block_until_ready(self._eval_step(params, {}, batch, self._key))

  def run(self, state: TrainState, stop: StopSignal) -> Evaluation | None:
    step = host_step(state)
    records = []
    for name, rows in self._held_out.items():
      means = evaluate_rows(
        self._eval_step,
        state.params,
        {},
        rows,
        self._key,
        self._sharding,
        batch_size=self._batch_size,
        stop=stop,
      )
      if means is None:
        return None
      record = {'kind': 'eval', 'step': step, 'corpus': name}
      records.append(record | with_perplexity(means))
    return Evaluation(records=records)


def evaluate_rows(
  eval_step: Callable[..., SumAndWeight],
  params: functional.Params,
  frozen: functional.Params,
  rows: RowsInOrder,
  key: jax.Array,
  sharding: jax.sharding.NamedSharding,
  *,
  batch_size: int,
  stop: StopSignal,
) -> dict[str, float] | None:
  """The mean of every loss and metric of `eval_step` over all rows.

  Returns None if the stop signal came before the last row.
  """
  totals: dict[str, np.ndarray] = {}
  pending = []
  for numbers in rows.batches(batch_size):
    if stop.requested:
      return None
    batch = place_batch(rows, numbers, sharding)
    pending.append(eval_step(params, frozen, batch, key))
    # The host stays one batch ahead, so that a stop signal is soon answered.
    jax.block_until_ready(pending[-2:-1])
  # Batches are added in f64 and in order. The sums of one batch are f32, and
  # their rounding depends on the number of devices (6e-8 of a toy model's
  # loss, seen on 1 to 8 simulated devices).
  for sums in jax.device_get(pending):
    for name, pair in sums.items():
      totals[name] = totals.get(name, 0) + np.asarray(pair, np.float64)
  return {
    name: float(total / max(weight, 1.0))
    for name, (total, weight) in totals.items()
  }


def with_perplexity(means: dict[str, float]) -> dict[str, float]:
  """Adds the perplexity over masked tokens, exp(mlm_loss), if there is one."""
  if 'mlm_loss' not in means:
    return means
  return means | {'perplexity': math.exp(min(means['mlm_loss'], 700.0))}
