"""The training loop, shared by pretraining and fine-tuning. Read and edit it.

The order inside an iteration is a contract: step, evaluate, save. A checkpoint
of step k therefore holds all that happened up to k, and the number of the next
example follows from k; resuming replays nothing. If a signal cuts an evaluation
short, the checkpoint says so, and the next start begins with the evaluation.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

from bert_jax.data.reading.device_feed import DeviceFeed, RowStream
from bert_jax.data.reading.plan import Plan
from bert_jax.errors import InputError
from bert_jax.models import functional
from bert_jax.parallel import distributed
from bert_jax.parallel.sharding import batch_sharding
from bert_jax.stopping import StopSignal, WaitStopped
from bert_jax.train.account import Account
from bert_jax.train.checkpoint import Checkpoints, Position
from bert_jax.train.checkpoint_config import CheckpointConfig
from bert_jax.train.evaluation import Evaluator
from bert_jax.train.logging import Log, LoggingConfig, MetricWriter, Progress
from bert_jax.train.saving import Saver
from bert_jax.train.start import Started
from bert_jax.train.state import TrainState, host_step, keep_best
from bert_jax.train.throughput import peak_flops
from bert_jax.train.window import Window
from bert_jax.workdir import Workdir


class TrainingStream(RowStream, Protocol):
  """A stream of rows that can say what it has read before an example."""

  def read_before(self, example_number: int) -> dict[str, str]:
    """Returns a description; streams equal up to there give equal ones."""
    ...


@dataclasses.dataclass(kw_only=True)
class Run:
  """Everything that the loop needs, put together by its caller.

  `step_fn(state, frozen, batch)` is jitted and donates the state; `frozen`
  holds parameters that it reads and never updates. `batch_axis` is
  the axis of a batch's rows.
  `flops_before` (step -> all FLOPs up to it) and `peak_flops` (0: unknown) give
  the MFU. `patience_steps` 0 means no early stopping.
  """

  label: str
  state: TrainState
  frozen: functional.Params
  position: Position
  step_fn: Callable[..., tuple[TrainState, dict[str, Any]]]
  evaluator: Evaluator
  stream: TrainingStream
  plan: Plan
  eval_every: int
  log_every: int
  save_every: int
  max_nonfinite_steps: int
  checkpoints: Checkpoints
  account: Account
  flops_before: Callable[[int], float]
  peak_flops: float
  profile: 'Profile'
  batch_axis: int = 0
  patience_steps: int = 0


class LoopOptions(Protocol):
  """The fields that the loop takes from an experiment of either kind."""

  logging: LoggingConfig
  checkpoint: CheckpointConfig
  max_nonfinite_steps: int
  profile_steps: tuple[int, ...]


def make_run(
  options: LoopOptions,
  workdir: Workdir,
  started: Started,
  account: Account,
  *,
  label: str,
  evaluator: Evaluator,
  stream: TrainingStream,
  eval_every: int,
  flops_before: Callable[[int], float],
  batch_axis: int = 0,
  patience_steps: int = 0,
) -> Run:
  """Puts together the run that has started and its experiment's options."""
  return Run(
    label=label,
    state=started.state,
    frozen=started.frozen,
    position=started.position,
    step_fn=started.step_fn,
    evaluator=evaluator,
    stream=stream,
    plan=started.plan,
    eval_every=eval_every,
    log_every=options.logging.every_steps,
    save_every=options.checkpoint.every_steps,
    max_nonfinite_steps=options.max_nonfinite_steps,
    checkpoints=started.checkpoints,
    account=account,
    flops_before=flops_before,
    peak_flops=peak_flops(options.logging.peak_tflops)[0],
    profile=Profile(options.profile_steps, str(workdir.profile)),
    batch_axis=batch_axis,
    patience_steps=patience_steps,
  )


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The end of a loop: `stopped_by` names a signal, '' if the run is done.

  `state` is None if there was nothing left to do.
  """

  state: TrainState | None = None
  stopped_by: str = ''
  saved_step: int = -1


def train(run: Run, writer: MetricWriter, stop: StopSignal) -> Outcome:
  """Runs from the state's step to the end, or to the next stop signal.

  Raises InputError on too many non-finite steps, or if the last save fails.
  """
  state, evaluated = run.state, run.position.evaluated
  first = done = host_step(state)
  plan = run.plan
  progress = Progress(run.label, first, plan.num_steps)
  log = Log(writer, progress)
  saver = Saver(run.checkpoints, run.save_every, log, stop, run.account)
  window = _open_window(run, first)

  def position() -> Position:
    example = plan.examples_before(done)
    return Position(
      example, run.stream.read_before(example), window.save(), evaluated
    )

  try:
    with _feed(run, first) as feed:
      if not evaluated:
        state, evaluated = _evaluate(run, state, done, log, stop)
      saver.before_first_step(state, done, position)
      while done < plan.num_steps and not stop.requested:
        if done % run.eval_every == 0 and early_stopped(state, run):
          log.say(f'step {done}: no better for {run.patience_steps} steps')
          break
        if plan.starts_stage(done):
          # Compiling the stage's program can take minutes, in which a signal
          # can only end the process at once. So all is saved before.
          if saver.keep_all(state, done, position):
            stop.all_kept()
        run.profile.before(done)
        if (batch := _next_batch(run, feed)) is None:
          break
        state, metrics = _step(run, state, batch, done)
        done += 1
        stop.begun()
        run.profile.after(done, metrics)
        window.add(metrics)
        log.advance()
        last = done == plan.num_steps
        if done % run.log_every == 0 or last:
          record = window.close(done, feed.wait_seconds)
          log.record(record)
          _check_finite(run, window, record, log, saver)
        if done % run.eval_every == 0 or last:
          with window.paused():
            state, evaluated = _evaluate(run, state, done, log, stop)
        if not (last or stop.requested):
          saver.after_step(state, done, position, window.paused)
    saver.finish(state, done, position)
  finally:
    saver.close()
    run.profile.close()
    progress.close()
  return Outcome(state, _stopped_by(stop), run.checkpoints.last_saved)


def _stopped_by(stop: StopSignal) -> str:
  # A signal after the last step may have reached some of several processes.
  return max(distributed.agree('stopped by', stop.name))


def _open_window(run: Run, first: int) -> Window:
  return Window(
    first,
    run.position.window,
    examples_before=run.plan.examples_before,
    flops_before=run.flops_before,
    peak_flops=run.peak_flops,
  )


@contextlib.contextmanager
def _feed(run: Run, first: int) -> Iterator[DeviceFeed]:
  feed = DeviceFeed(
    run.stream,
    batch_sharding(jax.sharding.get_mesh(), batch_axis=run.batch_axis),
    run.plan.batches(first),
    batch_axis=run.batch_axis,
  )
  with run.account.steps(first), feed:
    yield feed


def _next_batch(run: Run, feed: DeviceFeed) -> dict[str, jax.Array] | None:
  """The next batch; None if a stop was asked for while rows were fetched."""
  try:
    with run.account.phase('input_wait'):
      return next(feed)
  except WaitStopped:
    return None


def _step(
  run: Run, state: TrainState, batch: dict[str, jax.Array], done: int
) -> tuple[TrainState, dict[str, Any]]:
  """Dispatches the next step; a program is compiled at its first call."""
  account = run.account
  is_new = done == account.first_step or run.plan.starts_stage(done)
  with account.phase('compile' if is_new else 'step'):
    found = run.step_fn(state, run.frozen, batch)
  account.last_step = done + 1
  return found


def _evaluate(
  run: Run,
  state: TrainState,
  done: int,
  log: Log,
  stop: StopSignal,
) -> tuple[TrainState, bool]:
  """Returns (state with the best kept, whether the evaluation finished)."""
  with run.account.phase('evaluation'):
    evaluation = run.evaluator.run(state, stop)
  if evaluation is None:
    log.say(f'step {done}: evaluation put off until the next start')
    return state, False
  for record in evaluation.records:
    log.record(record)
  if evaluation.scores is not None:
    state = keep_best(state, evaluation.scores)
  return state, True


def early_stopped(state: TrainState, run: Run) -> bool:
  """True if no seed has improved for `patience_steps` steps."""
  if not run.patience_steps or state.best is None:
    return False
  step, best_step, score = jax.device_get(
    (state.step, state.best.step, state.best.score)
  )
  waited = step - np.maximum(best_step, 0)
  # Scores are not finite before the first evaluation.
  return bool(
    np.all(np.isfinite(score)) and np.min(waited) >= run.patience_steps
  )


def _check_finite(
  run: Run, window: Window, record: dict[str, Any], log: Log, saver: Saver
) -> None:
  """Names skipped steps; stops the run when there are too many in a row."""
  before = run.plan.examples_before
  for step in record.get('nonfinite_steps', ()):
    log.say(
      f'step {step}: loss or gradient not finite, update skipped; examples '
      f'{before(step)} to {before(step + 1) - 1}'
    )
  count = window.nonfinite_count
  if count < run.max_nonfinite_steps:
    return
  first, end = window.first_nonfinite_step, record['step']
  raise InputError(
    f'loss or gradient was not finite for {count} steps in a row, steps '
    f'{first} to {end - 1}, examples {before(first)} to {before(end) - 1}; '
    f'nothing was learned from them; {saver.settle()}. '
    'Lower optimizer.learning_rate or look at these examples'
  )


class Profile:
  """A trace of the steps [first, last) for TensorBoard or xprof."""

  def __init__(self, steps: tuple[int, ...], folder: str):
    self._steps = steps
    self._folder = folder
    self._running = False

  def before(self, step: int) -> None:
    if self._steps and step == self._steps[0]:
      jax.profiler.start_trace(self._folder)
      self._running = True

  def after(self, done: int, metrics: Any) -> None:
    if self._running and done >= self._steps[1]:
      jax.block_until_ready(metrics)
      self.close()

  def close(self) -> None:
    if self._running:
      self._running = False
      jax.profiler.stop_trace()
