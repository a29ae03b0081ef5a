"""A mask rate that follows a line: its values, and the masks of each step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from bert_jax.errors import InputError
from bert_jax.objectives.mask_rate import MaskRate, mask_rate_at
from bert_jax.objectives.mlm import MaskedLMConfig

POINTS = (MaskRate(step=10, rate=0.3), MaskRate(step=4106, rate=0.15))


def at(points, step: int) -> float:
  return float(jax.jit(lambda step: mask_rate_at(points, step))(step))


def test_follows_the_line_in_stairs_and_is_flat_outside_of_it():
  rates = [at(POINTS, step) for step in (0, 10, 13, 14, 2058, 4106, 10**9)]
  stair = 0.15 / 1024
  expected = [0.3, 0.3, 0.3, 0.3 - stair, 0.225, 0.15, 0.15]
  np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_a_short_line_has_a_stair_for_each_step():
  points = (MaskRate(step=0, rate=0.5), MaskRate(step=4, rate=0.1))
  rates = [at(points, step) for step in range(6)]
  np.testing.assert_allclose(rates, [0.5, 0.4, 0.3, 0.2, 0.1, 0.1], rtol=1e-6)


def test_one_point_is_a_constant():
  assert {at(POINTS[:1], step) for step in (0, 10, 99)} == {np.float32(0.3)}


def test_rows_are_masked_at_the_rate_of_the_step_and_evaluated_at_one():
  batch = toys.batch(100, 64)
  # In f32, as on the device.
  ordinary = np.sum(np.asarray(batch['input_ids']) >= 5, axis=1, dtype='f4')
  objective = MaskedLMConfig(mask_rate=0.2, mask_rates=POINTS).build(
    toys.table()
  )
  key = jax.random.key(0)
  prepare = jax.jit(objective.prepare)
  for step, rate in ((0, 0.3), (1034, 0.2625), (9999, 0.15)):
    masked = prepare(batch, key, jnp.int32(step))['masked_weights']
    assert masked.shape[1] == 20  # ceil(0.3 x 64), of every step
    np.testing.assert_array_equal(
      masked.sum(axis=1), np.round(np.float32(rate) * ordinary)
    )
  masked = prepare(batch, key)['masked_weights']
  assert masked.shape[1] == 13
  np.testing.assert_array_equal(
    masked.sum(axis=1), np.round(np.float32(0.2) * ordinary)
  )


def test_the_rate_of_a_schedule_gives_the_masks_of_the_same_constant():
  batch = toys.batch(16, 64)
  key = jax.random.key(1)
  schedule = MaskedLMConfig(mask_rates=(MaskRate(step=0, rate=0.25),))
  constant = MaskedLMConfig(mask_rate=0.25)
  first, second = (
    config.build(toys.table()).prepare(batch, key, jnp.int32(7))
    for config in (schedule, constant)
  )
  for name in first:
    np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize(
  'points, message',
  [
    (((0, 0.3), (0, 0.2)), 'each must be later'),
    (((-1, 0.3),), 'none may be negative'),
    (((0, 1.0),), r'mask_rates\[0\].rate is 1.0'),
    (((0, 0.2), (9, float('nan'))), r'mask_rates\[1\].rate is nan'),
  ],
)
def test_points_that_are_no_schedule_are_refused(points, message):
  rates = tuple(MaskRate(step=step, rate=rate) for step, rate in points)
  with pytest.raises(InputError, match=message):
    MaskedLMConfig(mask_rates=rates).validate()
