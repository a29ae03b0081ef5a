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

# Stairs between two points. Finer than the rates that a row of 512 can have.
_STAIRS = 1024


@dataclasses.dataclass(kw_only=True, slots=True)
class MaskRate:
  """At `step`, `rate` of a row's ordinary tokens are predicted."""

  step: int
  rate: float


def check_mask_rates(points: Sequence[MaskRate], field: str) -> None:
  """Raises InputError on points that are no schedule; `field` is their name."""
  steps = [point.step for point in points]
  if steps and (steps[0] < 0 or steps != sorted(set(steps))):
    raise InputError(
      f'{field}: its steps are {steps}; none may be negative, and '
      'each must be later than the one before it'
    )
  for number, point in enumerate(points):
    # nan is not within the bounds either.
    if not 0 < point.rate < 1:
      raise InputError(
        f'{field}[{number}].rate is {point.rate}; it must be between 0 and 1'
      )


def mask_rate_at(points: Sequence[MaskRate], step: jax.Array) -> jax.Array:
  """f32 scalar: the line through the points; before and after them, flat.

  In stairs whose rates and borders are known when it is traced: a line that is
  computed on the device may be rounded otherwise in another program, and a row
  would then have one masked token more.
  """
  steps = np.concatenate(
    [
      np.linspace(a.step, b.step, _STAIRS, endpoint=False)
      for a, b in zip(points, points[1:], strict=False)
    ]
    + [np.array([points[-1].step])]
  )
  # A stair begins at the first whole step that lies on it.
  steps = np.unique(np.ceil(steps).astype(np.int32))
  rates = np.interp(
    steps, [point.step for point in points], [point.rate for point in points]
  ).astype(np.float32)
  stair = jnp.searchsorted(jnp.asarray(steps), step, side='right') - 1
  return jnp.asarray(rates)[jnp.maximum(stair, 0)]
