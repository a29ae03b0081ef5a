"""A pretraining run, put together from its experiment: read top to bottom."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from bert_jax import durable_files
from bert_jax.config.codec import differences
from bert_jax.data.reading.corpora import OpenCorpus, open_corpora
from bert_jax.data.reading.mixture import CorpusStreams, MixedStream
from bert_jax.data.reading.stream import Stream
from bert_jax.data.remote.corpus import CopyOptions
from bert_jax.data.token_rows import TokenRows
from bert_jax.data.tokenizers import Tokenizer
from bert_jax.errors import InputError, shown
from bert_jax.experiment import (
  PretrainExperiment,
  model_of,
  program_of,
)
from bert_jax.jobs import one_run
from bert_jax.models import functional
from bert_jax.objectives.base import Objective, PretrainingObjective
from bert_jax.parallel import distributed
from bert_jax.parallel.mesh import check_batch_size
from bert_jax.pretrained import Pretrained, open_pretrained
from bert_jax.run_inputs import RunInputs
from bert_jax.stopping import StopSignal
from bert_jax.train import throughput, xla_options
from bert_jax.train.account import Account, open_account
from bert_jax.train.evaluation import (
  HeldOutLosses,
  RowsInOrder,
)
from bert_jax.train.initial import Initial
from bert_jax.train.logging import open_writer
from bert_jax.train.loop import Outcome, make_run, train
from bert_jax.train.start import start
from bert_jax.train.state import host_step
from bert_jax.train.step import make_eval_step
from bert_jax.workdir import Workdir

# Model fields that continued pretraining may change: they affect training only.
MAY_DIFFER = ('dropout', 'attention_dropout', 'initializer_stddev')


def pretrain(
  experiment: PretrainExperiment,
  workdir_path: str | os.PathLike,
  *,
  allow_change: tuple[str, ...] = (),
  began: float | None = None,
) -> Outcome:
  """Runs, or continues, the experiment in its workdir until it is done.

  `began` is when this start began, in seconds since 1970; now without it.

  Raises:
    InputError: the config, corpus or workdir cannot be used; nothing that was
      saved is lost.
  """
  began = began or time.time()
  experiment.validate()
  experiment.logging.require_packages()
  workdir = Workdir(workdir_path)
  one_run.check_place(experiment, workdir)
  one_run.require_alike(experiment)
  stop = one_run.stop_signal('pretrain')

  def leave_wait() -> bool:
    # A wait for shards is not left by one of several processes: the others
    # would wait for its rows.
    return bool(stop.name) and not distributed.several()

  with (
    stop,
    one_run.held(workdir),
    open_data(experiment, stop=leave_wait) as (corpora, tokenizer),
  ):
    distributed.require_equal(one_run.content(corpora))
    initial, description = None, {}
    if experiment.init_from:
      source = open_pretrained(experiment.init_from)
      source.print_notes()
      experiment = for_initial(experiment, source, tokenizer)
      initial = source.initial()
      description = {'init_from': source.describe()}
    experiment = with_vocab_size(experiment, tokenizer)
    experiment = one_run.with_compute_dtype(experiment, workdir)
    xla_options.check_run(experiment)
    inputs = RunInputs(workdir, description)
    distributed.require_equal(inputs.content())
    inputs.check(experiment, allow_change, read_at_start='init_from')
    if distributed.is_first():
      workdir.save_tokenizer(tokenizer)
      workdir.note_start([str(device) for device in jax.devices()])
    mesh = experiment.mesh.build()
    with jax.set_mesh(mesh), open_account(workdir, began) as account:
      return _train(
        experiment, workdir, corpora, tokenizer, initial, inputs, stop, account
      )


def _train(
  experiment: PretrainExperiment,
  workdir: Workdir,
  corpora: list[OpenCorpus],
  tokenizer: Tokenizer,
  initial: Initial | None,
  inputs: RunInputs,
  stop: StopSignal,
  account: Account,
) -> Outcome:
  mesh = jax.sharding.get_mesh()
  plan = experiment.plan()
  for stage in plan.stages:
    check_batch_size(stage.batch_size, mesh, experiment.num_microbatches)
  objective = experiment.objective.build(tokenizer.table)
  check_pairs(objective, corpora)
  model = model_of(experiment, objective)
  key = jax.random.key(experiment.seed)
  program = program_of(experiment, objective, model, key)
  stream = open_stream(experiment, corpora)
  checkpoints = one_run.checkpoints(workdir, experiment.checkpoint)
  started = start(
    program,
    workdir,
    checkpoints,
    stop,
    plan=plan,
    read_before=stream.read_before,
    initial=initial,
    resume_from=experiment.resume_from,
  )
  if distributed.is_first():
    inputs.write(experiment, started.position.next_example)
    if host_step(started.state) < plan.num_steps:
      workdir.complete.unlink(missing_ok=True)
  announce(experiment, started.state.params, corpora)
  evaluator = held_out_losses(experiment, objective, model, corpora)
  with account.phase('compile'):
    evaluator.warm_up(started.state.params)
  run = make_run(
    experiment,
    workdir,
    started,
    account,
    label='pretrain',
    evaluator=evaluator,
    stream=stream,
    eval_every=experiment.evaluation.every_steps,
    flops_before=flops_before(experiment, objective),
  )
  with open_writer(experiment, workdir) as writer:
    outcome = train(run, writer, stop)
  if distributed.is_first() and not outcome.stopped_by:
    durable_files.write_json(workdir.complete, {'step': outcome.saved_step})
  return outcome


@contextlib.contextmanager
def open_data(
  experiment: PretrainExperiment,
  *,
  browse: bool = False,
  stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[list[OpenCorpus], Tokenizer]]:
  """Opens the corpora, with rows of every length that a stage asks for.

  `browse` and `stop` are those of CopyOptions.
  """
  data = experiment.data
  options = CopyOptions(
    path=data.staging_path,
    max_bytes=round(data.staging_gigabytes * 1e9),
    shards_per_group=data.shards_per_group,
    browse=browse,
    stop=stop,
  )
  with open_corpora(
    [corpus.path for corpus in data.all_corpora()],
    [stage.row_length for stage in experiment.plan().stages],
    data.row_length,
    options,
  ) as opened:
    yield opened


def open_stream(
  experiment: PretrainExperiment, corpora: list[OpenCorpus]
) -> MixedStream:
  data = experiment.data
  sources = []
  for number, (corpus, config) in enumerate(
    zip(corpora, data.all_corpora(), strict=True)
  ):
    streams = {
      length: Stream(
        rows,
        # Seeds differ, or corpora of equal size would be read in one order.
        seed=experiment.seed + (number << 32),
        shuffle=data.shuffle,
        shards_per_group=data.shards_per_group,
        max_epochs=config.max_epochs,
        window=corpus.windows.get(length),
      )
      for length, rows in corpus.rows.items()
    }
    sources.append(CorpusStreams(corpus.name, streams))
  return MixedStream(sources, experiment.plan(), data.mixture)


def announce(
  experiment: PretrainExperiment,
  params: functional.Params,
  corpora: list[OpenCorpus],
) -> None:
  """Prints the sizes of a run, and the FLOP/s that MFU refers to."""
  peak, origin = throughput.peak_flops(experiment.logging.peak_tflops)
  rows = ', '.join(
    f'{rows.num_rows:,} rows of {length} tokens'
    + (f' in {corpus.name}' if len(corpora) > 1 else '')
    for corpus in corpora
    for length, rows in corpus.rows.items()
  )
  print(
    f'{functional.num_parameters(params):,} parameters, {rows}, '
    f'{len(jax.devices())} {jax.devices()[0].device_kind} device(s), products '
    f'in {experiment.compute_dtype}; '
    f'MFU against {peak / 1e12:.3g} TFLOP/s ({origin})',
    flush=True,
  )


def check_pairs(
  objective: PretrainingObjective, corpora: list[OpenCorpus]
) -> None:
  """Raises InputError on rows without the pairs that the objective needs."""
  wanted = objective.pairs_kind
  for corpus in corpora if wanted else ():
    for rows in (*corpus.rows.values(), corpus.held_out):
      if rows and (kind := pairs_kind(rows)) != wanted:
        raise InputError(
          f'objective: {rows.folder} has {shown(str(kind or "no"))} pairs, it '
          f'needs {wanted}; bert-jax prepare --pairs={wanted} makes them'
        )


def pairs_kind(rows: TokenRows) -> Any:
  """The kind of pairs in the rows, one of PAIR_KINDS; falsy for none."""
  facts = rows.manifest.get('pairs')
  has_labels = rows.max_segments and isinstance(facts, dict)
  return facts.get('kind') if has_labels else None


def flops_before(
  experiment: PretrainExperiment, objective: PretrainingObjective
) -> Callable[[int], float]:
  """Returns a function: step -> model FLOPs up to it; see models/flops.py."""
  plan = experiment.plan()
  num_passes = experiment.gradients.num_passes
  of_row = [
    num_passes * objective.flops_per_row(experiment.model, stage.row_length)
    for stage in plan.stages
  ]

  def before(step: int) -> float:
    total = 0.0
    for stage, first, flops in zip(
      plan.stages, plan.first_steps, of_row, strict=False
    ):
      steps = min(max(step - first, 0), stage.num_steps)
      total += steps * stage.batch_size * flops
    return total

  return before


def for_initial(
  experiment: PretrainExperiment, source: Pretrained, tokenizer: Tokenizer
) -> PretrainExperiment:
  """Returns the experiment with as many embedding rows as init_from has.

  Raises InputError if the parameters would mean something else here, and names
  all flags that make the models equal.
  """
  if source.tokenizer.fingerprint != tokenizer.fingerprint:
    raise InputError(
      f'init_from={source.origin}: its tokenizer is not that of the corpus; '
      'prepare the corpus with it'
    )
  theirs, ours = source.model, experiment.model
  if not ours.vocab_size:
    ours = dataclasses.replace(ours, vocab_size=theirs.vocab_size)
  flags = [
    f'--config.model.{name}={theirs_says}'
    for name, _, theirs_says in differences(ours, theirs)
    if name not in MAY_DIFFER
  ]
  if flags:
    raise InputError(
      f'init_from={source.origin} has another model than this config; give '
      f'{" ".join(flags)} (bert-jax grow makes a larger model of a trained one)'
    )
  return dataclasses.replace(experiment, model=ours)


def with_vocab_size(
  experiment: PretrainExperiment, tokenizer: Tokenizer
) -> PretrainExperiment:
  """Fills in model.vocab_size 0; refuses one that is too small for the ids."""
  size = tokenizer.table.vocab_size
  if experiment.model.vocab_size == 0:
    model = dataclasses.replace(experiment.model, vocab_size=size)
    return dataclasses.replace(experiment, model=model)
  if experiment.model.vocab_size < size:
    raise InputError(
      f'model.vocab_size={experiment.model.vocab_size} is smaller than the '
      f"tokenizer's {size} entries; set it to 0 to take the tokenizer's"
    )
  return experiment


def held_out_losses(
  experiment: PretrainExperiment,
  objective: Objective,
  model: functional.Model,
  corpora: list[OpenCorpus],
) -> HeldOutLosses:
  """The evaluator of the run: figures of each corpus that has held-out rows."""
  config = experiment.evaluation
  held_out = {
    corpus.name if len(corpora) > 1 else 'eval': RowsInOrder(
      corpus.held_out.arrays,
      min(corpus.held_out.num_rows, config.max_rows or 2**63),
    )
    for corpus in corpora
    if corpus.held_out and corpus.held_out.num_rows
  }
  options = xla_options.deterministic_options(
    experiment.deterministic, jax.default_backend()
  )
  eval_step = jax.jit(
    make_eval_step(objective, model), compiler_options=options
  )
  return HeldOutLosses(eval_step, held_out, config)
