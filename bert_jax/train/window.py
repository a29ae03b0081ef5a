"""The steps between two log lines: their metrics, and what they cost.

Metrics stay on the device until the line is due. A checkpoint holds the metrics
of an unfinished window, so that a run stopped in its middle writes the same
line as a run that was never stopped.
"""

import collections
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

# Number of steps that the host may be ahead of the device: one to work on and
# one to follow. More would only delay the answer to a stop signal.
_STEPS_AHEAD = 2

# The metrics that train/step.py returns for a step.
Metrics = dict[str, Any]


class Window:
  """The metrics since the last log line, or since the first step of a start."""

  def __init__(
    self,
    step: int,
    saved: tuple[Metrics, ...] = (),
    *,
    examples_before: Callable[[int], int],
    flops_before: Callable[[int], float],
    peak_flops: float,
  ):
    """Opens the window at `step`; `saved` is what `save` returned earlier.

    The other arguments are fields of loop.Run.
    """
    self._examples_before = examples_before
    self._flops_before = flops_before
    self._peak_flops = peak_flops
    self._metrics: list[Metrics] = list(saved)
    self._under_way: collections.deque[jax.Array] = collections.deque()
    self._restart_clock(step, 0.0)

  def add(self, metrics: Metrics) -> None:
    """Adds the metrics of a step that was dispatched."""
    self._metrics.append(metrics)
    self._under_way.append(metrics['loss'])
    if len(self._under_way) > _STEPS_AHEAD:
      jax.block_until_ready(self._under_way.popleft())

  def save(self) -> tuple[Metrics, ...]:
    """Returns the steps without a log line, as numbers and lists for JSON."""
    self._metrics = _on_host(self._metrics)
    return tuple(self._metrics)

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Stops the clock: evaluation and saving are not training time."""
    # Steps that are still under way count as training time.
    jax.block_until_ready(self._metrics)
    start = time.perf_counter()
    yield
    self._paused += time.perf_counter() - start

  def close(self, step: int, feed_wait_seconds: float) -> dict[str, Any]:
    """Returns the record of a log line, and opens the next window."""
    steps = _on_host(self._metrics)
    seconds = time.perf_counter() - self._start - self._paused
    timed = step - self._step
    tokens = sum(np.sum(metrics['tokens']) for metrics in steps[-timed:])
    flops = self._flops_before(step) - self._flops_before(self._step)
    flops /= seconds
    last = steps[-1]
    record: dict[str, Any] = {
      'kind': 'train',
      'step': step,
      **_means(steps),
      'learning_rate': float(np.max(last['learning_rate'])),
      'skipped_updates': int(np.max(last['skipped_updates'])),
      'examples': self._examples_before(step),
      'tokens_per_second': float(tokens / seconds),
      'step_seconds': seconds / timed,
      'input_wait_share': (feed_wait_seconds - self._waited) / seconds,
      'mfu': flops / self._peak_flops if self._peak_flops else None,
    }
    skipped = [
      step - len(steps) + place
      for place, metrics in enumerate(steps)
      if np.any(np.asarray(metrics['nonfinite_count']) > 0)
    ]
    if skipped:
      record['nonfinite_steps'] = skipped
    # The seed that has gone longest without a finite step counts.
    seed = int(np.argmax(last['nonfinite_count']))
    self.nonfinite_count = int(np.ravel(last['nonfinite_count'])[seed])
    self.first_nonfinite_step = int(
      np.ravel(last['first_nonfinite_step'])[seed]
    )
    self._metrics = []
    self._restart_clock(step, feed_wait_seconds)
    return record

  def _restart_clock(self, step: int, waited: float) -> None:
    self._step = step
    self._start = time.perf_counter()
    self._waited = waited
    self._paused = 0.0


def _on_host(metrics: list[Metrics]) -> list[Metrics]:
  # Plain numbers and lists, so that steps read from a checkpoint are averaged
  # exactly like those from the device.
  return jax.tree.map(lambda x: np.asarray(x).tolist(), jax.device_get(metrics))


def _means(steps: list[Metrics]) -> dict[str, float | None]:
  """Means over the steps, and over the seeds if there are several."""
  means: dict[str, float | None] = {}
  for name in ('loss', 'gradient_norm'):
    values = np.asarray([metrics[name] for metrics in steps], np.float64)
    # Skipped steps are counted separately; they have no loss to show.
    finite = values[np.isfinite(values)]
    means[name] = float(np.mean(finite)) if finite.size else None
  for name in steps[0]['sums']:
    pairs = np.asarray([m['sums'][name] for m in steps], np.float64)
    finite = np.isfinite(pairs).all(axis=1, keepdims=True)
    total, weight = np.where(finite, pairs, 0).sum(axis=0)
    mean = float(np.mean(total / np.maximum(weight, 1)))
    means[name] = mean if finite.any() else None
  return means
