"""A pretraining run, put together from its experiment: read top to bottom."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import jax

from bert_jax.data.device_feed import place_batch
from bert_jax.data.stream import Stream
from bert_jax.data.token_rows import TokenRows, refuse_link_out
from bert_jax.data.tokenizers import Tokenizer, load_tokenizer
from bert_jax.errors import InputError
from bert_jax.experiment import PretrainExperiment, model_builder
from bert_jax.models import functional
from bert_jax.objectives import corruption
from bert_jax.objectives.base import Objective
from bert_jax.parallel.mesh import check_batch_size, num_batch_devices
from bert_jax.parallel.sharding import batch_sharding
from bert_jax.stopping import StopSignal
from bert_jax.train import saving, throughput
from bert_jax.train.checkpoint import Checkpoints
from bert_jax.train.evaluation import (
  RowsInOrder,
  evaluate_rows,
  with_perplexity,
)
from bert_jax.train.logging import open_writer
from bert_jax.train.loop import Evaluation, Outcome, Profile, Run, train
from bert_jax.train.program import make_program
from bert_jax.train.state import TrainState
from bert_jax.train.step import make_eval_step
from bert_jax.workdir import Workdir


def pretrain(
  experiment: PretrainExperiment,
  workdir_path: str | os.PathLike,
  *,
  allow_change: tuple[str, ...] = (),
) -> Outcome:
  """Runs, or continues, the experiment in its workdir until it is done.

  Raises:
    InputError: the config, corpus or workdir cannot be used; nothing that was
      saved is lost.
  """
  experiment.validate()
  workdir = Workdir(workdir_path)
  workdir.create()
  stop = StopSignal('pretrain', saving.kept_and_goes_on(-1))
  with stop, workdir.lock():
    corpus, eval_corpus, tokenizer = open_corpus(experiment)
    experiment = with_vocab_size(experiment, tokenizer)
    workdir.settle_config(experiment, list(allow_change))
    workdir.save_tokenizer(tokenizer)
    workdir.note_start([str(device) for device in jax.devices()])
    mesh = experiment.mesh.build()
    with jax.set_mesh(mesh):
      return _train(experiment, workdir, corpus, eval_corpus, tokenizer, stop)


def _train(
  experiment: PretrainExperiment,
  workdir: Workdir,
  corpus: TokenRows,
  eval_corpus: TokenRows | None,
  tokenizer: Tokenizer,
  stop: StopSignal,
) -> Outcome:
  mesh = jax.sharding.get_mesh()
  check_batch_size(experiment.batch_size, mesh)
  objective = experiment.objective.build(tokenizer.table)
  build = model_builder(experiment.model, objective, experiment.compute_dtype)
  program = make_program(
    objective,
    build,
    experiment.optimizer.build(),
    experiment.optimizer.build_schedule(experiment.num_steps),
    jax.random.key(experiment.seed),
    num_microbatches=experiment.num_microbatches,
  )
  stream = open_stream(experiment, corpus)
  checkpoints = Checkpoints(workdir.checkpoints, experiment.checkpoint)
  state, position = program.start(
    workdir,
    checkpoints,
    stop,
    fingerprint=stream.fingerprint,
    init_from=experiment.init_from,
    resume_from=experiment.resume_from,
  )
  peak = announce(experiment, state.params, corpus)
  run = Run(
    label='pretrain',
    state=state,
    position=position,
    step_fn=program.step_fn,
    evaluate=make_evaluation(
      experiment, objective, build, eval_corpus, state.params
    ),
    stream=stream,
    batch_sharding=batch_sharding(mesh),
    batch_size=experiment.batch_size,
    num_steps=experiment.num_steps,
    eval_every=experiment.evaluation.every_steps,
    log_every=experiment.logging.every_steps,
    save_every=experiment.checkpoint.every_steps,
    max_nonfinite_steps=experiment.max_nonfinite_steps,
    checkpoints=checkpoints,
    flops_per_step=flops_per_step(experiment),
    peak_flops=peak,
    profile=Profile(experiment.profile_steps, str(workdir.profile)),
  )
  with open_writer(experiment, workdir) as writer:
    return train(run, writer, stop)


def open_corpus(
  experiment: PretrainExperiment,
) -> tuple[TokenRows, TokenRows | None, Tokenizer]:
  """(training rows, held-out rows if there are any, tokenizer)."""
  data = experiment.data
  folder = pathlib.Path(os.path.expanduser(data.path))
  if not folder.is_dir():
    raise InputError(
      f'data.path={folder} does not exist; make it by bert-jax prepare '
      f'--output={folder}'
    )
  rows = folder / str(data.row_length)
  if not rows.is_dir():
    lengths = sorted(
      int(p.name) for p in folder.iterdir() if p.name.isdecimal()
    )
    raise InputError(
      f'data.row_length={data.row_length}: {folder} has rows of length '
      f'{", ".join(map(str, lengths)) or "none"}; use one of them, or prepare '
      f'again with --row_length={data.row_length}'
    )
  held_out = folder / 'eval' / str(data.row_length)
  tokenizer_folder = folder / 'tokenizer'
  parts = (rows, held_out.parent, held_out, tokenizer_folder)
  for path in (*parts, *tokenizer_folder.glob('*')):
    refuse_link_out(path)
  tokenizer = load_tokenizer(tokenizer_folder)
  corpus = TokenRows(rows)
  eval_corpus = TokenRows(held_out) if held_out.is_dir() else None
  for part in (corpus, eval_corpus):
    if part and part.tokenizer_fingerprint != tokenizer.fingerprint:
      raise InputError(
        f'{part.folder} was prepared with another tokenizer than '
        f'{tokenizer_folder} (fingerprints '
        f'{part.tokenizer_fingerprint[:12]} and {tokenizer.fingerprint[:12]}); '
        'prepare the corpus again'
      )
  return corpus, eval_corpus, tokenizer


def open_stream(experiment: PretrainExperiment, corpus: TokenRows) -> Stream:
  data = experiment.data
  return Stream(
    corpus,
    seed=experiment.seed,
    shuffle=data.shuffle,
    shards_per_group=data.shards_per_group,
    max_epochs=data.max_epochs,
  )


def announce(
  experiment: PretrainExperiment, params: functional.Params, corpus: TokenRows
) -> float:
  """Prints the sizes of a run; returns the FLOP/s that MFU refers to."""
  peak, origin = throughput.peak_flops(experiment.logging.peak_tflops)
  print(
    f'{functional.num_parameters(params):,} parameters, '
    f'{corpus.num_rows:,} rows of {corpus.row_length} tokens, '
    f'{len(jax.devices())} {jax.devices()[0].device_kind} device(s); '
    f'MFU against {peak / 1e12:.3g} TFLOP/s ({origin})',
    flush=True,
  )
  return peak


def flops_per_step(experiment: PretrainExperiment) -> float:
  """Model FLOPs; see train/throughput.py."""
  length = experiment.data.row_length
  return experiment.batch_size * throughput.flops_per_row(
    experiment.model,
    length,
    corruption.capacity(experiment.objective.mask_rate, length),
  )


def with_vocab_size(
  experiment: PretrainExperiment, tokenizer: Tokenizer
) -> PretrainExperiment:
  """Fills in model.vocab_size 0; refuses one that the rows' ids exceed."""
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


def make_evaluation(
  experiment: PretrainExperiment,
  objective: Objective,
  build: functional.Build,
  eval_corpus: TokenRows | None,
  params: functional.Params,
) -> Callable[[TrainState, StopSignal], Evaluation | None]:
  """(state, stop) -> held-out figures, with the same masks every time.

  One batch is evaluated here: so a mistake or too little memory shows before
  the first step, and no signal has to wait for a compilation later.
  """
  if eval_corpus is None or not eval_corpus.num_rows:
    return lambda state, stop: Evaluation(records=[])
  config = experiment.evaluation
  mesh = jax.sharding.get_mesh()
  devices = num_batch_devices(mesh)
  rows = RowsInOrder(
    eval_corpus.rows,
    min(eval_corpus.num_rows, config.max_rows or eval_corpus.num_rows),
  )
  eval_step = jax.jit(make_eval_step(objective, build))
  key = jax.random.key(config.seed)
  sharding = batch_sharding(mesh)
  batch_size = -(-config.batch_size // devices) * devices
  first_batch = place_batch(rows, next(rows.batches(batch_size)), sharding)
  jax.block_until_ready(eval_step(params, first_batch, key))

  def evaluate(state: TrainState, stop: StopSignal) -> Evaluation | None:
    means = evaluate_rows(
      eval_step,
      state.params,
      rows,
      key,
      sharding,
      batch_size=batch_size,
      stop=stop,
    )
    if means is None:
      return None
    step = int(jax.device_get(state.step))
    record = {'kind': 'eval', 'step': step, 'corpus': 'eval'}
    return Evaluation(records=[record | with_perplexity(means)])

  return evaluate
