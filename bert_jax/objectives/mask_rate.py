"""A mask rate that changes over a run.

Source of the idea: Ankner et al. 2023, "Dynamic Masking Rate Schedules for MLM
Pretraining" (https://arxiv.org/abs/2305.15096), whose best run goes linearly
from 0.3 to 0.15.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.errors import InputError

# Number of stairs between two points; finer than the rates of a row of 512.
_STAIRS = 1024


@dataclasses.dataclass(kw_only=True, slots=True)
class MaskRate:
  """A point of a schedule: at `step`, a share `rate` of tokens is predicted."""

  step: int
  rate: float


def check_mask_rates(points: Sequence[MaskRate], field: str) -> None:
  """Raises InputError on points that form no schedule, naming `field`."""
  steps = [point.step for point in points]
  if steps and (steps[0] < 0 or steps != sorted(set(steps))):
    raise InputError(
      f'{field}: its steps are {steps}; none may be negative, and '
      'each must be later than the one before it'
    )
  for number, point in enumerate(points):
    # The comparison also refuses nan.
    if not 0 < point.rate < 1:
      raise InputError(
        f'{field}[{number}].rate is {point.rate}; it must be between 0 and 1'
      )


def mask_rate_at(points: Sequence[MaskRate], step: jax.Array) -> jax.Array:
  """The rate at a step, f32 scalar: on the line through the points.

  Before the first point and after the last, the rate is constant. The line is
  made of stairs whose rates and borders are fixed when it is traced: computed
  on the device it could round differently in another program, and a row would
  then have one more masked token.
  """
  steps = np.concatenate(
    [
      np.linspace(a.step, b.step, _STAIRS, endpoint=False)
      for a, b in zip(points, points[1:], strict=False)
    ]
    + [np.array([points[-1].step])]
  )
  # Each stair begins at the first whole step that lies on it.
  steps = np.unique(np.ceil(steps).astype(np.int32))
  rates = np.interp(
    steps, [point.step for point in points], [point.rate for point in points]
  ).astype(np.float32)
  stair = jnp.searchsorted(jnp.asarray(steps), step, side='right') - 1
  return jnp.asarray(rates)[jnp.maximum(stair, 0)]
