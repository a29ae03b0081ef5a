"""Fine-tuning's evaluation: all seeds scored at once, the best one kept."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils

from bert_jax import durable_files
from bert_jax.data.examples import Examples
from bert_jax.data.length_buckets import bucket_of
from bert_jax.data.reading.device_feed import place_batch
from bert_jax.models import functional
from bert_jax.objectives.base import Batch
from bert_jax.optim.base import Optimizer
from bert_jax.parallel import distributed
from bert_jax.parallel.sharding import batch_sharding, devices_along
from bert_jax.stopping import StopSignal
from bert_jax.tasks.base import (
  DetailedTask,
  Features,
  Figures,
  FittedTask,
  Result,
  Task,
  TaskConfig,
)
from bert_jax.tasks.metrics import mean_and_std
from bert_jax.tasks.text_rows import join_rows
from bert_jax.train.checkpoint import save_params
from bert_jax.train.evaluation import Evaluation, RowsInOrder
from bert_jax.train.state import TrainState, host_step
from bert_jax.train.step import Join, all_trainable
from bert_jax.train.xla_options import deterministic_options
from bert_jax.workdir import Workdir


@dataclasses.dataclass(kw_only=True)
class TuningData:
  """Both parts of the data of a fine-tuning run.

  train, eval: the rows of each part. num_train: number of training examples.
  held_out: the examples of the evaluation part, with answers. about: the facts
  of the data for results.json. notes: oddities of the data, a line each.
  lengths: the lengths that rows are padded to, int64 [k], ascending.
  num_tokens: tokens of each row of a part, 'train' or 'eval', int64 [n].
  padding: share of padding in the rows of a part, each padded to its length.
  """

  train: Features
  num_train: int
  eval: Features
  held_out: Examples
  about: dict[str, dict[str, Any]]
  notes: list[str]
  lengths: np.ndarray
  num_tokens: dict[str, np.ndarray]
  padding: dict[str, float]


class ScoringOptions(Protocol):
  """The fields of a fine-tuning experiment that scoring and results read."""

  num_seeds: int
  num_epochs: int
  batch_size: int
  eval_batch_size: int
  deterministic: bool
  init_from: str
  task: TaskConfig
  optimizer: Optimizer


class Scoring:
  """Scores the evaluation part with the parameters of every seed: an Evaluator.

  `frozen` and `join`: as in train/step.py; all seeds share what is frozen.
  """

  def __init__(
    self,
    experiment: ScoringOptions,
    task: Task,
    model: functional.Model,
    examples: TuningData,
    steps_per_epoch: int,
    frozen: functional.Params,
    join: Join = all_trainable,
  ):
    self._experiment = experiment
    self._task = task
    self._examples = examples
    self._steps_per_epoch = steps_per_epoch

    self._frozen = frozen

    def step(
      params: functional.Params, frozen: functional.Params, batch: Batch
    ) -> Any:
      prepared = task.prepare(batch, jax.random.key(0))
      return task.predict(model.bind(join(params, frozen)), prepared)

    self._step = jax.jit(
      jax.vmap(step, in_axes=(0, None, None)),
      compiler_options=deterministic_options(
        experiment.deterministic, jax.default_backend()
      ),
    )

  def predict(
    self, params: functional.Params, stop: StopSignal | None = None
  ) -> list[Any] | None:
    """Predicts all rows with params [seeds, ...]; returns a list by seed.

    Each of several processes gets all of them. Returns None if a stop signal
    came before the last row.
    """
    rows = self._rows()
    pending = []
    for numbers in rows.batches(rows.batch_size):
      if stop and stop.requested:
        return None
      pending.append(self._predict_batch(params, rows, numbers))
      # The host stays one batch ahead, so that a stop signal is soon answered.
      jax.block_until_ready(pending[-2:-1])
    pending = multihost_utils.process_allgather(pending, tiled=True)
    places = [*map(rows.of_numbers, rows.batches(rows.batch_size))]
    of_a_seed = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype),
      jax.eval_shape(
        self._step, params, self._frozen, {'input_ids': rows.whole_row}
      ),
    )

    def of_seed(seed: int) -> Any:
      parts = [jax.tree.map(lambda x: x[seed], batch) for batch in pending]
      batches = zip(places, parts, strict=True)
      return join_rows(of_a_seed, rows.num_rows, batches)

    return [of_seed(seed) for seed in range(self._experiment.num_seeds)]

  def warm_up(self, params: functional.Params) -> None:
    """Predicts a batch of each length, so that no signal waits for it later."""
    rows = self._rows()
    warm = set()
    for numbers in rows.batches(rows.batch_size):
      if (length := rows.length(numbers)) not in warm:
        warm.add(length)
        jax.block_until_ready(self._predict_batch(params, rows, numbers))

  def run(self, state: TrainState, stop: StopSignal) -> Evaluation | None:
    """Returns a record for each seed; the score is the task's metric."""
    step = host_step(state)
    predictions = self.predict(state.params, stop)
    if predictions is None:
      return None
    records, scores = [], []
    for seed, results in enumerate(self._results(predictions)):
      figures = self._task.score(results, self._examples.held_out)
      record = {'kind': 'eval', 'step': step, 'seed': seed}
      record['epoch'] = round(step / self._steps_per_epoch)
      # Records take single figures only: tables belong in results.json.
      records.append(record | _single(figures))
      scores.append(figures[self._experiment.task.metric])
    # The best parameters are kept, and a run ends, by the scores of process 0.
    scores = distributed.as_first('scores', scores)
    return Evaluation(records=records, scores=np.asarray(scores, np.float32))

  def write_results(self, workdir: Workdir, state: TrainState) -> None:
    """Writes results.json, and the params of the best seed to best/."""
    best = state.best
    assert best is not None  # a fine-tuning state has one from the start
    best_steps, scores = jax.device_get((best.step, best.score))
    predictions = self.predict(best.params)
    assert predictions is not None  # no stop signal was passed
    winner = int(np.argmax(scores))
    runs, facts = [], self._task.facts
    for seed, results in enumerate(self._results(predictions)):
      best_step = int(best_steps[seed])
      run = {
        'seed': seed,
        'best_epoch': round(best_step / self._steps_per_epoch),
        'best_step': best_step,
        **self._task.score(results, self._examples.held_out),
      }
      if isinstance(self._task, DetailedTask):
        run['details'] = self._task.details(results, self._examples.held_out)
      runs.append(run)
      if seed == winner and isinstance(self._task, FittedTask):
        facts = facts | self._task.fitted(results, self._examples.held_out)
    save_params(
      workdir.best, jax.tree.map(lambda leaf: leaf[winner], best.params)
    )
    if not distributed.is_first():
      return
    durable_files.write_json(
      workdir.results,
      {
        'task': self._experiment.task.name,
        **facts,
        **self._conditions(),
        'best_seed': winner,
        'runs': runs,
        'summary': {
          name: mean_and_std([run[name] for run in runs])._asdict()
          for name in _single(runs[0])
        },
      },
    )

  def _conditions(self) -> dict[str, Any]:
    """The part of results.json on what was run, on which examples."""
    experiment, examples = self._experiment, self._examples
    return {
      **examples.about,
      'notes': examples.notes,
      'init_from': experiment.init_from,
      'train_path': experiment.task.train_path,
      'num_train': examples.num_train,
      'eval_path': experiment.task.eval_path
      or f'held out of {experiment.task.train_path}',
      'num_eval': len(examples.held_out),
      'eval_sha256': examples.held_out.digest(),
      'metric': experiment.task.metric,
      'config': {
        'learning_rate': experiment.optimizer.learning_rate,
        'num_epochs': experiment.num_epochs,
        'batch_size': experiment.batch_size,
      },
      'rows': {
        'lengths': examples.lengths.tolist(),
        'padding_share': examples.padding,
        'cut': {'train': examples.train.cut, 'eval': examples.eval.cut},
      },
    }

  def _rows(self) -> '_RowsByLength':
    """The rows of the evaluation part."""
    devices = devices_along('batch')
    return _RowsByLength(
      self._examples.eval.rows['input_ids'],
      self._examples.num_tokens['eval'],
      self._examples.lengths,
      -(-self._experiment.eval_batch_size // devices) * devices,
    )

  def _predict_batch(
    self, params: functional.Params, rows: '_RowsByLength', numbers: np.ndarray
  ) -> Any:
    sharding = batch_sharding(jax.sharding.get_mesh())
    batch = place_batch(rows, numbers, sharding)
    return self._step(params, self._frozen, batch)

  def _results(self, predictions: list[Any]) -> Iterator[list[Result]]:
    """Yields the task's results for each seed's predictions."""
    for of_seed in predictions:
      yield self._task.decode(of_seed, self._examples.eval)


class _RowsByLength(RowsInOrder):
  """Rows int32 [n, ..., T] in the order of their buckets.

  Batches of `batch_size` rows are cut to the length that holds their longest.
  """

  def __init__(
    self,
    ids: np.ndarray,
    num_tokens: np.ndarray,
    lengths: np.ndarray,
    batch_size: int,
  ):
    buckets = bucket_of(num_tokens, lengths)
    self._order = np.argsort(buckets, kind='stable')
    self._length_of_row = lengths[buckets[self._order]]
    self.batch_size = batch_size
    self.whole_row = jax.ShapeDtypeStruct((1, *ids.shape[1:]), ids.dtype)
    super().__init__(
      lambda rows: {'input_ids': ids[self._order[rows]]}, len(ids)
    )

  def batch(self, example_numbers: np.ndarray) -> dict[str, np.ndarray]:
    batch = super().batch(example_numbers)
    length = self.length(example_numbers)
    return batch | {'input_ids': batch['input_ids'][..., :length]}

  def length(self, example_numbers: np.ndarray) -> int:
    """The length of the whole batch of which these numbers are a part."""
    end = (int(example_numbers[0]) // self.batch_size + 1) * self.batch_size
    return int(self._length_of_row[min(end, self.num_rows) - 1])

  def of_numbers(self, example_numbers: np.ndarray) -> np.ndarray:
    """The rows of a batch as they were given, without those past the end."""
    numbers = example_numbers.astype(np.int64)
    return self._order[numbers[numbers < self.num_rows]]


def _single(figures: Figures) -> dict[str, float]:
  return {
    name: value for name, value in figures.items() if isinstance(value, float)
  }
