"""Fine-tuning's evaluation: all seeds scored at once, the best one kept."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils

from bert_jax import durable_files
from bert_jax.data.examples import Examples
from bert_jax.data.reading.device_feed import place_batch
from bert_jax.models import functional
from bert_jax.objectives.base import Batch
from bert_jax.optim.base import Optimizer
from bert_jax.parallel import distributed
from bert_jax.parallel.sharding import batch_sharding, devices_along
from bert_jax.stopping import StopSignal
from bert_jax.tasks.base import (
  Features,
  Figures,
  FittedTask,
  Result,
  Task,
  TaskConfig,
)
from bert_jax.tasks.metrics import mean_and_std
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
  """

  train: Features
  num_train: int
  eval: Features
  held_out: Examples
  about: dict[str, dict[str, Any]]
  notes: list[str]


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
    rows, batch_size = self._rows()
    pending = []
    for numbers in rows.batches(batch_size):
      if stop and stop.requested:
        return None
      pending.append(self._predict_batch(params, rows, numbers))
      # The host stays one batch ahead, so that a stop signal is soon answered.
      jax.block_until_ready(pending[-2:-1])
    pending = multihost_utils.process_allgather(pending, tiled=True)
    return [
      jax.tree.map(
        lambda *parts, seed=seed: np.concatenate(
          [part[seed] for part in parts]
        )[: rows.num_rows],
        *pending,
      )
      for seed in range(self._experiment.num_seeds)
    ]

  def warm_up(self, params: functional.Params) -> None:
    """Predicts one batch, so that no signal waits for a compilation later."""
    rows, batch_size = self._rows()
    numbers = next(rows.batches(batch_size))
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
      runs.append(
        {
          'seed': seed,
          'best_epoch': round(best_step / self._steps_per_epoch),
          'best_step': best_step,
          **self._task.score(results, self._examples.held_out),
        }
      )
      if seed == winner and isinstance(self._task, FittedTask):
        facts = facts | self._task.fitted(results, self._examples.held_out)
    save_params(
      workdir.best, jax.tree.map(lambda leaf: leaf[winner], best.params)
    )
    if not distributed.is_first():
      return
    experiment = self._experiment
    durable_files.write_json(
      workdir.results,
      {
        'task': experiment.task.name,
        **facts,
        **self._examples.about,
        'notes': self._examples.notes,
        'init_from': experiment.init_from,
        'train_path': experiment.task.train_path,
        'num_train': self._examples.num_train,
        'eval_path': experiment.task.eval_path
        or f'held out of {experiment.task.train_path}',
        'num_eval': len(self._examples.held_out),
        'metric': experiment.task.metric,
        'config': {
          'learning_rate': experiment.optimizer.learning_rate,
          'num_epochs': experiment.num_epochs,
          'batch_size': experiment.batch_size,
        },
        'best_seed': winner,
        'runs': runs,
        'summary': {
          name: mean_and_std([run[name] for run in runs])._asdict()
          for name in _single(runs[0])
        },
      },
    )

  def _rows(self) -> tuple[RowsInOrder, int]:
    """The rows of the evaluation part, and the size of a batch."""
    ids = self._examples.eval.rows['input_ids']
    devices = devices_along('batch')
    batch_size = -(-self._experiment.eval_batch_size // devices) * devices
    rows = RowsInOrder(lambda rows: {'input_ids': ids[rows]}, len(ids))
    return rows, batch_size

  def _predict_batch(
    self, params: functional.Params, rows: RowsInOrder, numbers: np.ndarray
  ) -> Any:
    sharding = batch_sharding(jax.sharding.get_mesh())
    batch = place_batch(rows, numbers, sharding)
    return self._step(params, self._frozen, batch)

  def _results(self, predictions: list[Any]) -> Iterator[list[Result]]:
    """Yields the task's results for each seed's predictions."""
    for of_seed in predictions:
      yield self._task.decode(of_seed, self._examples.eval)


def results_table(results: dict[str, Any]) -> str:
  """Formats results.json as lines for a terminal."""
  names = list(results['summary'])
  lines = ['  '.join(['seed', 'best epoch', *names])]
  for run in results['runs']:
    cells = [f'{run["seed"]:4d}', f'{run["best_epoch"]:10d}']
    cells += [f'{run[name]:{len(name)}.4f}' for name in names]
    lines.append('  '.join(cells))
  for figure in ('mean', 'std'):
    cells = [f'{figure:16s}']
    cells += [
      f'{results["summary"][name][figure]:{len(name)}.4f}' for name in names
    ]
    lines.append('  '.join(cells))
  return '\n'.join(lines)


def _single(figures: Figures) -> dict[str, float]:
  return {
    name: value for name, value in figures.items() if isinstance(value, float)
  }
