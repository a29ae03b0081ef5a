"""The loop: the same for pretraining and fine-tuning. Read it and edit it.

The order inside an iteration is a contract: step, evaluate, save. A checkpoint
of step k therefore holds all that happened up to k, and the next example
number is k times the batch size; resuming replays nothing.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from bert_jax.data.device_feed import DeviceFeed, RowStream
from bert_jax.errors import InputError
from bert_jax.train.checkpoint import Checkpoints, Position
from bert_jax.train.logging import MetricWriter, Progress
from bert_jax.train.preemption import StopSignal
from bert_jax.train.state import TrainState, keep_best


@dataclasses.dataclass(kw_only=True)
class Evaluation:
  """Records to write; `scores` f32 [seeds] where the best is kept."""

  records: list[dict[str, Any]]
  scores: np.ndarray | None = None


@dataclasses.dataclass(kw_only=True)
class Run:
  """Everything that the loop needs, put together by its caller.

  `step_fn` is jitted and donates the state; `batch_sharding` splits
  `batch_axis`; `flops_per_step` and `peak_flops` (0: unknown) give the MFU.
  `patience_steps` 0: no early stopping.
  """

  label: str
  state: TrainState
  step_fn: Callable[..., tuple[TrainState, dict[str, Any]]]
  evaluate: Callable[[TrainState], Evaluation]
  stream: RowStream
  batch_sharding: jax.sharding.NamedSharding
  batch_size: int
  num_steps: int
  eval_every: int
  log_every: int
  save_every: int
  max_nonfinite_steps: int
  checkpoints: Checkpoints
  flops_per_step: float
  peak_flops: float
  batch_axis: int = 0
  patience_steps: int = 0
  profile_steps: tuple[int, ...] = ()
  profile_folder: str = ''


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How the loop ended: `stopped_by` names a signal, '' where it was done.

  No state: there was nothing left to do.
  """

  state: TrainState | None = None
  stopped_by: str = ''
  saved_step: int = -1


def train(run: Run, writer: MetricWriter, stop: StopSignal) -> Outcome:
  """Runs from the state's step to the end, or to the next stop signal.

  Raises InputError when too many steps in a row were not finite.
  """
  state = run.state
  first = done = host_step(state)
  progress = Progress(run.label, first, run.num_steps)
  feed = DeviceFeed(
    run.stream,
    run.batch_sharding,
    batch_size=run.batch_size,
    first_example=first * run.batch_size,
    num_batches=run.num_steps - first,
    batch_axis=run.batch_axis,
  )
  window = Window(run, first)
  profile = Profile(run.profile_steps, run.profile_folder)
  try:
    with feed:
      while done < run.num_steps and not stop.requested:
        if done % run.eval_every == 0 and early_stopped(state, run):
          progress.say(f'step {done}: no better for {run.patience_steps} steps')
          break
        profile.before(done)
        state, metrics = run.step_fn(state, next(feed))
        done += 1
        profile.after(done, metrics)
        window.add(metrics)
        progress.advance()
        last = done == run.num_steps
        if done % run.log_every == 0 or last:
          record = window.close(done, feed.wait_seconds)
          writer.write(record)
          progress.show(record)
          window.check_finite(done, state, run.checkpoints)
        if done % run.eval_every == 0 or last:
          with window.paused():
            evaluation = run.evaluate(state)
          for record in evaluation.records:
            writer.write(record)
            progress.show(record)
          if evaluation.scores is not None:
            state = keep_best(state, evaluation.scores)
        if (done % run.save_every == 0 or last) and not stop.requested:
          with window.paused():
            save(run, state, done)
    if done > run.checkpoints.last_saved:
      save(run, state, done)
  finally:
    # Also after an error: what is being written is finished.
    run.checkpoints.close()
    profile.close()
    progress.close()
  return Outcome(state, stop.name, run.checkpoints.last_saved)


def save(run: Run, state: TrainState, done: int) -> None:
  run.checkpoints.save(
    state, Position(done * run.batch_size, run.stream.fingerprint)
  )


def host_step(state: TrainState) -> int:
  """The step as a Python integer; waits for the device."""
  return int(np.max(jax.device_get(state.step)))


def early_stopped(state: TrainState, run: Run) -> bool:
  """True where no seed has become better for `patience_steps` steps."""
  if not run.patience_steps or state.best is None:
    return False
  step, best_step, score = jax.device_get(
    (state.step, state.best.step, state.best.score)
  )
  waited = step - np.maximum(best_step, 0)
  # Before the first evaluation nothing has been compared.
  return bool(
    np.all(np.isfinite(score)) and np.min(waited) >= run.patience_steps
  )


class Window:
  """The steps between two log lines: metrics stay on the device until then."""

  def __init__(self, run: Run, step: int):
    self._run = run
    self._metrics: list[dict[str, Any]] = []
    self._step = step
    self._start = time.perf_counter()
    self._waited = 0.0
    self._paused = 0.0
    self._last: dict[str, np.ndarray] = {}

  def add(self, metrics: dict[str, Any]) -> None:
    self._metrics.append(metrics)

  def close(self, step: int, feed_wait_seconds: float) -> dict[str, Any]:
    """Fetches the window's metrics and returns the record of a log line."""
    fetched = jax.device_get(self._metrics)
    seconds = time.perf_counter() - self._start - self._paused
    num_steps = step - self._step
    self._last = fetched[-1]
    record: dict[str, Any] = {'kind': 'train', 'step': step}
    for name, value in fetched[0].items():
      values = [metrics[name] for metrics in fetched]
      if isinstance(value, tuple):
        sums = np.sum([np.asarray(pair) for pair in values], axis=0)
        record[name] = float(np.mean(sums[0] / np.maximum(sums[1], 1)))
      elif name in ('loss', 'gradient_norm'):
        # Skipped steps are counted on their own; they have no loss to show.
        finite = np.asarray(values)[np.isfinite(values)]
        record[name] = float(np.mean(finite)) if finite.size else None
    tokens = float(np.sum([metrics['tokens'] for metrics in fetched]))
    waited = feed_wait_seconds - self._waited
    flops = self._run.flops_per_step * num_steps / seconds
    record |= {
      'learning_rate': float(np.max(self._last['learning_rate'])),
      'skipped_updates': int(np.max(self._last['skipped_updates'])),
      'examples': step * self._run.batch_size,
      'tokens_per_second': tokens / seconds,
      'step_seconds': seconds / num_steps,
      'input_wait_share': waited / seconds,
      'mfu': flops / self._run.peak_flops if self._run.peak_flops else None,
    }
    self._metrics = []
    self._step = step
    self._start = time.perf_counter()
    self._waited = feed_wait_seconds
    self._paused = 0.0
    return record

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Evaluation and saving are not training time."""
    # The steps that are still under way are.
    jax.block_until_ready(self._metrics)
    start = time.perf_counter()
    yield
    self._paused += time.perf_counter() - start

  def check_finite(
    self, step: int, state: TrainState, checkpoints: Checkpoints
  ) -> None:
    """Stops the run when every update has been skipped for too long."""
    count = int(np.max(self._last['nonfinite_count']))
    if count < self._run.max_nonfinite_steps:
      return
    first = int(np.max(self._last['first_nonfinite_step']))
    size = self._run.batch_size
    checkpoints.wait()
    kept = checkpoints.last_saved
    raise InputError(
      f'loss or gradient was not finite for {count} steps in a row, steps '
      f'{first} to {step - 1}, examples {first * size} to {step * size - 1}; '
      f'nothing was learned from them. The last checkpoint is of step {kept}. '
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
