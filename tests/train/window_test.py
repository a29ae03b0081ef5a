"""Windows between log lines: what they average, and that they can be saved."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from runs import figures

from bert_jax.data.reading.plan import Plan, Stage
from bert_jax.train.window import Window

RUN = dict(
  examples_before=Plan(
    [Stage(num_steps=100, row_length=8, batch_size=4)]
  ).examples_before,
  flops_before=lambda step: 10.0 * step,
  peak_flops=0.0,
)


def metrics(step, loss=None, nonfinite=0):
  """Of a step, on the device."""
  loss = jnp.float32(1 / (step + 3)) if loss is None else jnp.float32(loss)
  return {
    'sums': {'mlm_loss': jnp.stack([loss * 8, jnp.float32(8)])},
    'loss': loss,
    'gradient_norm': loss * 2,
    'learning_rate': jnp.float32(0.1),
    'tokens': jnp.int32(30),
    'nonfinite_count': jnp.int32(nonfinite),
    'first_nonfinite_step': jnp.int32(step if nonfinite else 0),
    'skipped_updates': jnp.int32(nonfinite),
  }


def window_of(steps, first=0, saved=()):
  window = Window(first, saved, **RUN)
  for step in steps:
    window.add(metrics(step))
  return window


def test_the_mean_over_the_steps():
  record = window_of(range(3)).close(3, 0.0)
  losses = np.float32([1 / 3, 1 / 4, 1 / 5]).astype(np.float64)
  assert record['loss'] == np.mean(losses)
  assert record['mlm_loss'] == pytest.approx(np.mean(losses))
  assert record['examples'] == 12
  assert 'nonfinite_steps' not in record


@pytest.mark.parametrize('cut', range(1, 6))
def test_a_saved_window_gives_the_same_record(cut):
  """Through JSON, as a checkpoint keeps it."""
  whole = window_of(range(6)).close(6, 0.0)
  saved = window_of(range(cut)).save()
  saved = tuple(json.loads(json.dumps(saved)))
  resumed = window_of(range(cut, 6), cut, saved)
  assert figures(resumed.close(6, 0.0)) == figures(whole)


def test_the_time_is_of_the_steps_of_this_start():
  """Those that came out of a checkpoint took their time elsewhere."""
  saved = window_of(range(4)).save()
  record = window_of([4, 5], 4, saved).close(6, 0.0)
  seconds = 2 * record['step_seconds']
  assert record['tokens_per_second'] * seconds == pytest.approx(60)


def test_skipped_steps_are_named_and_not_averaged():
  window = Window(10, **RUN)
  window.add(metrics(10, loss=1))
  window.add(metrics(11, loss=np.nan, nonfinite=1))
  window.add(metrics(12, loss=np.inf, nonfinite=2))
  record = window.close(13, 0.0)
  assert record['nonfinite_steps'] == [11, 12]
  assert record['loss'] == 1
  assert window.nonfinite_count == 2
  json.dumps(record, allow_nan=False)


def test_a_window_without_a_finite_step_has_no_loss():
  window = Window(0, **RUN)
  window.add(metrics(0, loss=np.nan, nonfinite=1))
  record = window.close(1, 0.0)
  assert record['loss'] is None and record['mlm_loss'] is None


def test_the_next_window_starts_empty():
  window = window_of(range(2))
  window.close(2, 0.0)
  assert window.save() == ()
  window.add(metrics(2, loss=7))
  assert window.close(3, 0.0)['loss'] == 7
