"""A fine-tuning run, put together from its experiment: read it top to bottom.

All seeds train at once, along a leading axis of the state: the same loop and
step as in pretraining.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.data.device_feed import place_batch
from bert_jax.data.labelled import (
  LabelledStream,
  encode_examples,
  read_examples,
)
from bert_jax.data.tokenizers import Tokenizer, load_tokenizer
from bert_jax.errors import InputError
from bert_jax.experiment import FinetuneExperiment, resolve_dtype
from bert_jax.models import functional
from bert_jax.models.config import EncoderConfig
from bert_jax.models.heads import EncoderWithHeads
from bert_jax.objectives.base import Batch
from bert_jax.parallel.mesh import check_batch_size, num_batch_devices
from bert_jax.parallel.sharding import batch_sharding
from bert_jax.tasks.base import Task
from bert_jax.tasks.metrics import mean_and_std
from bert_jax.train import throughput
from bert_jax.train.checkpoint import Checkpoints, save_params
from bert_jax.train.evaluation import RowsInOrder
from bert_jax.train.logging import MetricWriter
from bert_jax.train.loop import Evaluation, Outcome, Run, host_step, train
from bert_jax.train.preemption import StopSignal
from bert_jax.train.restore import fresh_state, split_workdir, starting_state
from bert_jax.train.state import (
  TrainState,
  init_state,
  state_shardings,
  with_shardings,
)
from bert_jax.train.step import make_train_step
from bert_jax.workdir import Workdir, encode, write_json


@dataclasses.dataclass(kw_only=True)
class Examples:
  """Both parts of the data as rows: input_ids int32 [n, T], labels int32 [n]."""

  label_names: list[str]
  train_ids: np.ndarray
  train_labels: np.ndarray
  eval_ids: np.ndarray
  eval_labels: np.ndarray


class SeedStreams:
  """One stream a seed, stacked: arrays [seeds, n, ...]."""

  def __init__(self, streams: list[LabelledStream]):
    self._streams = streams
    self.fingerprint = streams[0].fingerprint

  def batch(self, example_numbers: np.ndarray) -> dict[str, np.ndarray]:
    batches = [stream.batch(example_numbers) for stream in self._streams]
    return {
      name: np.stack([batch[name] for batch in batches]) for name in batches[0]
    }


def finetune(
  experiment: FinetuneExperiment,
  workdir_path: str | os.PathLike,
  *,
  allow_change: tuple[str, ...] = (),
) -> Outcome:
  """Runs, or continues, all seeds until done; then writes results.json.

  Raises:
    InputError: the config, data or workdir cannot be used.
  """
  experiment.validate()
  workdir = Workdir(workdir_path)
  workdir.create()
  with StopSignal() as stop, workdir.lock():
    experiment, tokenizer_folder = with_model(experiment)
    tokenizer = load_tokenizer(tokenizer_folder)
    workdir.settle_config(experiment, list(allow_change))
    workdir.copy_tokenizer(tokenizer_folder)
    workdir.note_start([str(device) for device in jax.devices()])
    examples = load_examples(experiment, tokenizer)
    write_json(workdir.labels, examples.label_names)
    mesh = experiment.mesh.build()
    with jax.set_mesh(mesh):
      return _train(experiment, workdir, examples, tokenizer, stop)


def _train(
  experiment: FinetuneExperiment,
  workdir: Workdir,
  examples: Examples,
  tokenizer: Tokenizer,
  stop: StopSignal,
) -> Outcome:
  mesh = jax.sharding.get_mesh()
  check_batch_size(experiment.batch_size, mesh)
  task = experiment.task.build(tokenizer.table, examples.label_names)
  build = model_builder(experiment.model, task, experiment.compute_dtype)
  optimizer = experiment.optimizer.build()
  keys = seed_keys(experiment)

  @jax.vmap
  def new_state(key: jax.Array) -> TrainState:
    params = functional.init(build, key)
    return init_state(params, optimizer, keep_best=True)

  abstract = jax.eval_shape(new_state, keys)
  shardings = state_shardings(
    abstract, optimizer, mesh, functional.logical_axes(build), seeds_axis=True
  )
  stream = seed_streams(experiment, examples)
  steps_per_epoch = max(
    1, round(len(examples.train_ids) / experiment.batch_size)
  )
  num_steps = experiment.num_epochs * steps_per_epoch
  step = make_train_step(
    task,
    build,
    optimizer,
    experiment.optimizer.build_schedule(num_steps),
    num_microbatches=experiment.num_microbatches,
  )
  jitted = jax.jit(
    jax.vmap(step), donate_argnums=0, out_shardings=(shardings, None)
  )
  checkpoints = Checkpoints(workdir.checkpoints, experiment.checkpoint)
  state, origin = starting_state(
    checkpoints,
    lambda: fresh_state(
      new_state,
      keys,
      shardings,
      experiment.init_from,
      num_seeds=experiment.num_seeds,
    ),
    with_shardings(abstract, shardings),
    fingerprint=stream.fingerprint,
  )
  print(origin, flush=True)
  peak, _ = throughput.peak_flops(experiment.logging.peak_tflops)
  predict = make_predictor(task, build, examples.eval_ids, experiment)
  writer = MetricWriter(
    experiment.logging,
    workdir.metrics,
    workdir.tensorboard,
    encode(experiment),
  )
  try:
    outcome = train(
      Run(
        label='finetune',
        state=state,
        step_fn=lambda state, batch: jitted(state, batch, keys),
        evaluate=functools.partial(
          _evaluate, experiment, task, examples, predict, steps_per_epoch
        ),
        stream=stream,
        batch_sharding=batch_sharding(mesh, batch_axis=1),
        batch_axis=1,
        batch_size=experiment.batch_size,
        num_steps=num_steps,
        eval_every=steps_per_epoch,
        log_every=experiment.logging.every_steps,
        save_every=experiment.checkpoint.every_steps,
        max_nonfinite_steps=experiment.max_nonfinite_steps,
        checkpoints=checkpoints,
        writer=writer,
        flops_per_step=experiment.num_seeds
        * experiment.batch_size
        * throughput.flops_per_row(experiment.model, experiment.max_length, 0),
        peak_flops=peak,
        patience_steps=experiment.patience_epochs * steps_per_epoch,
        profile_steps=experiment.profile_steps,
        profile_folder=str(workdir.profile),
      ),
      stop,
    )
  finally:
    writer.close()
    checkpoints.close()
  if not outcome.stopped_by:
    write_results(
      experiment, workdir, task, examples, predict, outcome, steps_per_epoch
    )
  return outcome


def with_model(
  experiment: FinetuneExperiment,
) -> tuple[FinetuneExperiment, pathlib.Path]:
  """Takes sizes and tokenizer from `init_from`, if there is one.

  Returns the experiment with its final model, and the tokenizer's folder.
  """
  folder = pathlib.Path(experiment.tokenizer).expanduser()
  model = experiment.model
  if experiment.init_from:
    source = Workdir(split_workdir(experiment.init_from)[0])
    model = source.read_config().model
    if not experiment.tokenizer:
      folder = source.tokenizer
  tokenizer = load_tokenizer(folder)
  size = tokenizer.table.vocab_size
  if model.vocab_size and model.vocab_size < size:
    raise InputError(
      f'model.vocab_size={model.vocab_size} is smaller than the {size} entries '
      f'of the tokenizer {folder}; use the tokenizer of the pretraining run'
    )
  if experiment.max_length > model.max_positions:
    raise InputError(
      f'max_length is {experiment.max_length}; it must be at most '
      f'model.max_positions={model.max_positions}'
    )
  model = dataclasses.replace(
    model,
    vocab_size=model.vocab_size or size,
    dropout=experiment.dropout,
    attention_dropout=experiment.dropout,
  )
  return dataclasses.replace(experiment, model=model), folder


def load_examples(
  experiment: FinetuneExperiment, tokenizer: Tokenizer
) -> Examples:
  """Reads and encodes both parts; prints how many texts were cut short."""
  task = experiment.task
  parts = {
    name: read_examples(
      path, text_columns=task.text_columns, label_column=task.label_column
    )
    for name, path in (('train', task.train_path), ('eval', task.eval_path))
  }
  label_names = sorted(set(parts['train'].labels))
  if len(label_names) < 2:
    raise InputError(
      f'task.train_path={task.train_path}: every example has the label '
      f'{label_names[0]!r}; there is nothing to learn from one class'
    )
  arrays = {}
  for name, part in parts.items():
    ids, num_cut = encode_examples(tokenizer, part.texts, experiment.max_length)
    labels = part.label_ids(label_names)
    arrays |= {f'{name}_ids': ids, f'{name}_labels': labels}
    print(
      f'{name}: {len(ids):,} examples, {num_cut:,} cut to max_length='
      f'{experiment.max_length} tokens',
      flush=True,
    )
  return Examples(label_names=label_names, **arrays)


def model_builder(
  model: EncoderConfig, task: Task, compute_dtype: str
) -> functional.Build:
  return functools.partial(
    EncoderWithHeads, model, task.heads(), dtype=resolve_dtype(compute_dtype)
  )


def seed_keys(experiment: FinetuneExperiment) -> jax.Array:
  """A key for each seed, [num_seeds]."""
  key = jax.random.key(experiment.seed)
  return jax.vmap(lambda seed: jax.random.fold_in(key, seed))(
    jnp.arange(experiment.num_seeds)
  )


def seed_streams(
  experiment: FinetuneExperiment, examples: Examples
) -> SeedStreams:
  """Every seed sees the examples in an order of its own."""
  return SeedStreams(
    [
      LabelledStream(
        examples.train_ids, examples.train_labels, seed=experiment.seed + seed
      )
      for seed in range(experiment.num_seeds)
    ]
  )


def make_predictor(
  task: Task,
  build: functional.Build,
  input_ids: np.ndarray,
  experiment: FinetuneExperiment,
) -> Callable[[functional.Params], np.ndarray]:
  """params [seeds, ...] -> predictions [seeds, n, ...] for rows int32 [n, T]."""

  def step(params: functional.Params, batch: Batch) -> jax.Array:
    prepared = task.prepare(batch, jax.random.key(0))
    return task.predict(functional.bind(build, params), prepared)

  jitted = jax.jit(jax.vmap(step, in_axes=(0, None)))
  mesh = jax.sharding.get_mesh()
  devices = num_batch_devices(mesh)
  batch_size = -(-experiment.eval_batch_size // devices) * devices
  rows = RowsInOrder(lambda indices: input_ids[indices], len(input_ids))

  def predict(params: functional.Params) -> np.ndarray:
    pending = [
      jitted(params, place_batch(rows, numbers, batch_sharding(mesh)))
      for numbers in rows.batches(batch_size)
    ]
    found = np.concatenate(jax.device_get(pending), axis=1)
    return found[:, : rows.num_rows]

  return predict


def _evaluate(
  experiment: FinetuneExperiment,
  task: Task,
  examples: Examples,
  predict: Callable[[functional.Params], np.ndarray],
  steps_per_epoch: int,
  state: TrainState,
) -> Evaluation:
  step = host_step(state)
  records, scores = [], []
  for seed, predictions in enumerate(predict(state.params)):
    figures = task.score(examples.eval_labels, predictions)
    record = {'kind': 'eval', 'step': step, 'seed': seed}
    record['epoch'] = round(step / steps_per_epoch)
    # Single figures only: tables of classes belong in results.json.
    record |= {k: v for k, v in figures.items() if isinstance(v, float)}
    records.append(record)
    scores.append(figures[experiment.task.metric])
  return Evaluation(records=records, scores=np.asarray(scores, np.float32))


def write_results(
  experiment: FinetuneExperiment,
  workdir: Workdir,
  task: Task,
  examples: Examples,
  predict: Callable[[functional.Params], np.ndarray],
  outcome: Outcome,
  steps_per_epoch: int,
) -> None:
  """results.json, and the params of the best seed in best/."""
  best = outcome.state.best
  best_steps, scores = jax.device_get((best.step, best.score))
  runs = []
  for seed, predictions in enumerate(predict(best.params)):
    figures = task.score(examples.eval_labels, predictions)
    step = int(best_steps[seed])
    runs.append(
      {
        'seed': seed,
        'best_epoch': round(step / steps_per_epoch),
        'best_step': step,
        **figures,
      }
    )
  names = [name for name, value in runs[0].items() if isinstance(value, float)]
  summary = {}
  for name in names:
    mean, std = mean_and_std([run[name] for run in runs])
    summary[name] = {'mean': mean, 'std': std}
  winner = int(np.argmax(scores))
  save_params(
    workdir.best, jax.tree.map(lambda leaf: leaf[winner], best.params)
  )
  write_json(
    workdir.results,
    {
      'task': 'classification',
      'labels': examples.label_names,
      'init_from': experiment.init_from,
      'train_path': experiment.task.train_path,
      'num_train': len(examples.train_ids),
      'eval_path': experiment.task.eval_path,
      'num_eval': len(examples.eval_ids),
      'metric': experiment.task.metric,
      'config': {
        'learning_rate': experiment.optimizer.learning_rate,
        'num_epochs': experiment.num_epochs,
        'batch_size': experiment.batch_size,
      },
      'best_seed': winner,
      'runs': runs,
      'summary': summary,
    },
  )


def results_table(results: dict) -> str:
  """results.json as lines for a terminal."""
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
