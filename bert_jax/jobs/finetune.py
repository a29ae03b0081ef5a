"""A fine-tuning run, put together from its experiment: read top to bottom.

All seeds train at once, along a leading axis of the state, by the same loop and
step as in pretraining.
"""

import dataclasses
import functools
import math
import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.data.reading.device_feed import place_batch
from bert_jax.data.reading.plan import Plan, Stage
from bert_jax.data.tokenizers import Tokenizer, load_tokenizer
from bert_jax.errors import InputError
from bert_jax.experiment import (
  FinetuneExperiment,
  model_of,
)
from bert_jax.jobs import one_run
from bert_jax.jobs.starting_point import starting_point, with_fresh_top
from bert_jax.jobs.tuning_examples import (
  SeedStreams,
  load_examples,
  seed_streams,
)
from bert_jax.models.flops import tuning_flops_per_row
from bert_jax.models.functional import Model, flatten
from bert_jax.parallel import distributed
from bert_jax.parallel.mesh import check_batch_size
from bert_jax.parallel.sharding import batch_sharding
from bert_jax.peft.base import Method
from bert_jax.peft.lora import LoRAConfig
from bert_jax.pretrained import Pretrained, describe_base, open_pretrained
from bert_jax.pretrained.adapters import why_no_adapter
from bert_jax.run_inputs import RunInputs, describe_examples
from bert_jax.stopping import StopSignal
from bert_jax.tasks.base import Task
from bert_jax.train import xla_options
from bert_jax.train.account import Account, open_account
from bert_jax.train.logging import open_writer
from bert_jax.train.loop import Outcome, make_run, train
from bert_jax.train.program import Program, make_program
from bert_jax.train.scoring import Scoring, TuningData
from bert_jax.train.start import Started, start
from bert_jax.workdir import Workdir


def finetune(
  experiment: FinetuneExperiment,
  workdir_path: str | os.PathLike,
  *,
  allow_change: tuple[str, ...] = (),
  began: float | None = None,
) -> Outcome:
  """Runs, or continues, all seeds until done; then writes results.json.

  `began` is when this start began, in seconds since 1970; now without it.
  Raises InputError if the config, data or workdir cannot be used.
  """
  began = began or time.time()
  experiment.validate()
  experiment.logging.require_packages()
  workdir = Workdir(workdir_path)
  one_run.check_place(experiment, workdir)
  one_run.require_alike(experiment)
  stop = one_run.stop_signal('finetune')
  with stop, one_run.held(workdir):
    source = _open_source(experiment)
    experiment, tokenizer = with_model(experiment, source)
    experiment = one_run.with_compute_dtype(experiment, workdir)
    xla_options.check_run(experiment)
    inputs = RunInputs(workdir, describe_inputs(experiment, tokenizer, source))
    distributed.require_equal(inputs.content())
    is_finished = distributed.as_first(
      'finished', workdir.results.exists() and workdir.best.exists()
    )
    # A run that goes on has its parameters and does not read init_from again.
    # A finished run refuses another init_from: its figures are of the old one.
    at_start = '' if is_finished else 'init_from'
    if experiment.peft.has_base:
      # The base is read at every start, and tuned parameters fit no other.
      at_start = ''
      allow_change = tuple(n for n in allow_change if n != 'init_from')
    changes = inputs.check(experiment, allow_change, at_start)
    if not inputs.is_recorded:
      print(_not_recorded(experiment, workdir), flush=True)
    if distributed.as_first('all done', is_finished and not changes):
      if distributed.is_first():
        inputs.spare_reading()
      return Outcome()
    for note in tokenizer.notes:
      print(note, flush=True)
    if distributed.is_first():
      workdir.save_tokenizer(tokenizer)
      workdir.note_start([str(device) for device in jax.devices()])
    earlier = source.facts if source else None
    task, examples = load_examples(experiment, tokenizer, earlier)
    inputs.require_unchanged()
    if source and isinstance(experiment.peft, LoRAConfig):
      _note_no_adapter(source, task)
    mesh = experiment.mesh.build()
    check_batch_size(experiment.batch_size, mesh, experiment.num_microbatches)
    with jax.set_mesh(mesh), open_account(workdir, began) as account:
      return _train(
        experiment, workdir, task, examples, source, inputs, stop, account
      )


def _note_no_adapter(source: Pretrained, task: Task) -> None:
  if reason := why_no_adapter(source, task.elsewhere()):
    refused = 'convert --output_format=peft will refuse this run'
    print(f'note: {refused}: {reason}', flush=True)


def _open_source(experiment: FinetuneExperiment) -> Pretrained | None:
  """The model of init_from; None without one."""
  if not experiment.init_from:
    return None
  source = open_pretrained(experiment.init_from)
  source.print_notes()
  # With a base, one reading gives its fingerprint, the base and first heads.
  return source.kept() if experiment.peft.has_base else source


def _train(
  experiment: FinetuneExperiment,
  workdir: Workdir,
  task: Task,
  examples: TuningData,
  source: Pretrained | None,
  inputs: RunInputs,
  stop: StopSignal,
  account: Account,
) -> Outcome:
  method = experiment.peft.build()
  model = method.extend(model_of(experiment, task))
  steps_per_epoch = steps_of_epoch(experiment, examples)
  plan = one_stage(experiment, steps_per_epoch)
  program = _make_program(experiment, task, model, method, plan.num_steps)
  stream = seed_streams(experiment, examples, steps_per_epoch)
  checkpoints = one_run.checkpoints(workdir, experiment.checkpoint)
  initial = starting_point(experiment, source, task)
  started = start(
    program,
    workdir,
    checkpoints,
    stop,
    plan=plan,
    read_before=stream.read_before,
    initial=with_fresh_top(initial, experiment, model, method),
  )
  if distributed.is_first():
    inputs.write(experiment, started.position.next_example)
  frozen, join = started.frozen, method.join
  scoring = Scoring(
    experiment, task, model, examples, steps_per_epoch, frozen, join
  )
  with account.phase('compile'):
    scoring.warm_up(started.state.judged)
    _compile(program, started, stream, experiment.batch_size)
  run = make_run(
    experiment,
    workdir,
    started,
    account,
    label='finetune',
    evaluator=scoring,
    stream=stream,
    batch_axis=1,
    eval_every=steps_per_epoch * experiment.eval_every_epochs,
    flops_before=FlopsBefore(experiment, model, method, stream, examples),
    patience_steps=experiment.patience_epochs * steps_per_epoch,
  )
  with open_writer(experiment, workdir) as writer:
    outcome = train(run, writer, stop)
  if not outcome.stopped_by:
    assert outcome.state is not None  # only a stopped run may lack one
    with account.phase('evaluation'):
      scoring.write_results(workdir, outcome.state)
  return outcome


def _make_program(
  experiment: FinetuneExperiment,
  task: Task,
  model: Model,
  method: Method,
  num_steps: int,
) -> Program:
  return make_program(
    task,
    model,
    experiment.optimizer.build(model.infos),
    experiment.optimizer.build_schedule(num_steps),
    seed_keys(experiment),
    method=method,
    gradients=experiment.gradients.build(experiment.model.table_dim),
    num_microbatches=experiment.num_microbatches,
    xla_options=xla_options.step_options(experiment, jax.default_backend()),
    num_seeds=experiment.num_seeds,
    average_decay=experiment.average_decay,
  )


def describe_inputs(
  experiment: FinetuneExperiment,
  tokenizer: Tokenizer,
  source: Pretrained | None,
) -> dict[str, Any]:
  """Returns {config field: description of the input that it names}."""
  task = experiment.task
  described = {}
  if source and experiment.peft.has_base:
    described = describe_base(source.base_of(experiment.peft.build()))
  elif source:
    described = source.describe()
  return {
    'task.train_path': describe_examples(task.train_path),
    **(
      {'task.eval_path': describe_examples(task.eval_path)}
      if task.eval_path
      else {}
    ),
    'tokenizer': {'sha256': tokenizer.fingerprint},
    **({'init_from': described} if described else {}),
  }


def _not_recorded(experiment: FinetuneExperiment, workdir: Workdir) -> str:
  task = experiment.task
  return (
    f'note: {workdir.path} is of an earlier version, which did not record the '
    f'content of its inputs, so {task.train_path} and {task.eval_path} may '
    'have changed since; give another --workdir for figures of their content '
    'now'
  )


def steps_of_epoch(experiment: FinetuneExperiment, examples: TuningData) -> int:
  """The number of steps that read all rows once, rounded, at least 1."""
  num_rows = len(examples.train.rows['input_ids'])
  return max(1, round(num_rows / experiment.batch_size))


def one_stage(experiment: FinetuneExperiment, steps_per_epoch: int) -> Plan:
  """Makes a plan of one stage, with epochs converted to steps."""
  stage = Stage(
    num_steps=experiment.num_epochs * steps_per_epoch,
    row_length=experiment.max_length,
    batch_size=experiment.batch_size,
  )
  return Plan([stage])


class FlopsBefore:
  """Model FLOPs of all seeds before a step; see models/flops.py."""

  def __init__(
    self,
    experiment: FinetuneExperiment,
    model: Model,
    method: Method,
    stream: SeedStreams,
    examples: TuningData,
  ):
    trainable, _ = method.split(model.abstract_params(), model.infos)
    texts = examples.train.rows['input_ids'].shape[1:-1]
    num_rows = experiment.num_seeds * experiment.batch_size * math.prod(texts)
    times = num_rows * experiment.gradients.num_passes
    times *= getattr(experiment.task, 'num_passes', 1)
    self._stream = stream
    paths = flatten(trainable).keys()
    self._of_length = functools.cache(
      lambda length: times * tuning_flops_per_row(model, paths, length)
    )
    self._of_epoch = functools.cache(self._within)

  def __call__(self, step: int) -> float:
    epoch, rest = divmod(step, self._stream.steps_per_epoch)
    whole = sum(map(self._of_epoch, range(epoch)))
    return whole + (self._within(epoch, rest) if rest else 0.0)

  def _within(self, epoch: int, num_steps: int | None = None) -> float:
    lengths = self._stream.lengths_of(epoch)[:num_steps]
    return sum(self._of_length(length) for length in lengths.tolist())


def _compile(
  program: Program, started: Started, stream: SeedStreams, batch_size: int
) -> None:
  """Compiles the step for every length of rows, before the first of them.

  A mistake or too little memory shows at once, and no signal has to wait for a
  compilation later.
  """
  sharding = batch_sharding(jax.sharding.get_mesh(), batch_axis=1)
  for step in stream.step_of_each_length():
    numbers = np.arange(batch_size, dtype=np.uint64) + np.uint64(
      step * batch_size
    )
    batch = place_batch(stream, numbers, sharding, batch_axis=1)
    program.compile(started.state, started.frozen, batch)


def with_model(
  experiment: FinetuneExperiment, source: Pretrained | None
) -> tuple[FinetuneExperiment, Tokenizer]:
  """Takes sizes and tokenizer from `source`, the model of init_from, if any.

  Returns the experiment with its final model, and the tokenizer.
  """
  model = source.model if source else experiment.model
  if experiment.tokenizer:
    tokenizer = load_tokenizer(experiment.tokenizer)
    if source and source.tokenizer.fingerprint != tokenizer.fingerprint:
      raise InputError(
        f'tokenizer={experiment.tokenizer} is not that of init_from='
        f'{experiment.init_from}; leave it out to use the one of the model'
      )
  else:
    assert source is not None  # validate() requires init_from or tokenizer
    tokenizer = source.tokenizer
  size = tokenizer.table.vocab_size
  if model.vocab_size and model.vocab_size < size:
    raise InputError(
      f'model.vocab_size={model.vocab_size} is smaller than the {size} entries '
      f'of the tokenizer {experiment.tokenizer or experiment.init_from}; set '
      'it to 0 to use their number'
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
  return dataclasses.replace(experiment, model=model), tokenizer


def seed_keys(experiment: FinetuneExperiment) -> jax.Array:
  """A key for each seed, [num_seeds]."""
  key = jax.random.key(experiment.seed)
  return jax.vmap(lambda seed: jax.random.fold_in(key, seed))(
    jnp.arange(experiment.num_seeds)
  )
