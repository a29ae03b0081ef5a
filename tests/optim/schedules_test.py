"""Schedules: where they start, peak and end."""

import numpy as np
import pytest

from bert_jax.errors import InputError
from bert_jax.optim.schedules import Cosine, Linear, WarmupStableDecay


def values(schedule, num_steps=100, peak=1.0):
  built = schedule.build(peak, num_steps)
  return np.array([float(built(step)) for step in range(num_steps + 1)])


@pytest.mark.parametrize('shape', [Linear, Cosine, WarmupStableDecay])
def test_warm_up_reaches_the_peak_and_the_end_is_the_final_share(shape):
  rates = values(shape(warmup_steps=10, final_share=0.1))
  np.testing.assert_allclose(rates[:10], np.linspace(0.1, 1.0, 10), atol=1e-6)
  assert rates.max() == pytest.approx(1.0)
  assert rates[100] == pytest.approx(0.1, abs=1e-6)
  assert np.all(np.diff(rates[10:]) <= 1e-7)


def test_linear_is_linear():
  np.testing.assert_allclose(
    values(Linear()), np.linspace(1, 0, 101), atol=1e-6
  )


def test_stable_part_is_stable():
  rates = values(WarmupStableDecay(decay_share=0.2))
  assert np.all(rates[:80] == 1.0)
  np.testing.assert_allclose(rates[85], 1 - np.sqrt(5 / 20), atol=1e-6)


def test_share_of_the_run():
  assert Linear(warmup_share=0.1).num_warmup_steps(200) == 20


@pytest.mark.parametrize(
  'schedule, message',
  [
    (Linear(warmup_steps=100), 'does not fit'),
    (Linear(warmup_steps=5, warmup_share=0.1), 'both set'),
    (WarmupStableDecay(decay_share=0.0), 'decay_share'),
    (Linear(warmup_share=float('nan')), 'warmup_share is nan'),
    (Linear(warmup_share=float('inf')), 'warmup_share is inf'),
    (Linear(warmup_share=-0.1), 'warmup_share is -0.1'),
  ],
)
def test_what_cannot_be_is_refused(schedule, message):
  with pytest.raises(InputError, match=message):
    schedule.build(1.0, 100)
