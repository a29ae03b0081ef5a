"""Learning-rate schedules: a linear warm-up, then one of several shapes.

Each schedule is a config whose `build` returns a function from the step to the
learning rate (f32 scalar). The warm-up is given in steps (`warmup_steps`) or as
a share of the run (`warmup_share`), whichever is above 0.

The function is a Partial, that is a pytree whose leaves are its numbers. They
are arguments of the compiled step (train/program.py), so that a longer run or
another rate needs no new compilation.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from bert_jax.errors import InputError


@dataclasses.dataclass(kw_only=True, slots=True)
class Schedule:
  """Base of all schedules, which end at `final_share` of the peak."""

  warmup_steps: int = 0
  warmup_share: float = 0.0
  final_share: float = 0.0

  def num_warmup_steps(self, num_steps: int) -> int:
    """Steps of the warm-up; InputError if they do not fit the run."""
    if self.warmup_steps and self.warmup_share:
      raise InputError(
        f'schedule.warmup_steps={self.warmup_steps} and '
        f'warmup_share={self.warmup_share} are both set; set one to 0'
      )
    # The comparison also refuses nan.
    if not 0 <= self.warmup_share < 1:
      raise InputError(
        f'schedule.warmup_share is {self.warmup_share}; it must be in [0, 1)'
      )
    steps = self.warmup_steps or round(self.warmup_share * num_steps)
    if not 0 <= steps < num_steps:
      raise InputError(
        f'the warm-up of {steps} steps does not fit into num_steps='
        f'{num_steps}; lower optimizer.schedule.warmup_steps or warmup_share'
      )
    return steps

  def build(self, peak: float, num_steps: int) -> Partial:
    warmup = self.num_warmup_steps(num_steps)
    body = self.after_warmup(peak, num_steps - warmup)
    if not warmup:
      return body
    # Learning begins at step 0: (step + 1) / warmup, not step / warmup.
    ramp = _line(peak / warmup, peak, max(1, warmup - 1))
    return Partial(_joined, ramp, body, np.int32(warmup))

  def after_warmup(self, peak: float, num_steps: int) -> Partial:
    """Returns the schedule of the steps after the warm-up, from 0 on."""
    raise NotImplementedError('choose a schedule with a shape, e.g. Linear')


@dataclasses.dataclass(kw_only=True, slots=True)
class Linear(Schedule):
  """Linear decay to the end of the run, as in BERT."""

  def after_warmup(self, peak: float, num_steps: int) -> Partial:
    return _line(peak, peak * self.final_share, num_steps)


@dataclasses.dataclass(kw_only=True, slots=True)
class Cosine(Schedule):
  """Cosine decay to the end of the run, half a period."""

  def after_warmup(self, peak: float, num_steps: int) -> Partial:
    numbers = _f32(peak, 1 - self.final_share, self.final_share)
    return Partial(_half_cosine, *numbers, *_length(num_steps))


@dataclasses.dataclass(kw_only=True, slots=True)
class WarmupStableDecay(Schedule):
  """Constant rate, then 1 - sqrt decay over the last `decay_share` of the run.

  A run can be prolonged from any checkpoint of its constant part. Source of
  the shape: Hägele et al. 2024 (https://arxiv.org/abs/2405.18392).
  """

  decay_share: float = 0.2

  def after_warmup(self, peak: float, num_steps: int) -> Partial:
    if not 0 < self.decay_share <= 1:
      raise InputError(
        f'schedule.decay_share is {self.decay_share}; it must be in (0, 1]'
      )
    decay_steps = max(1, round(self.decay_share * num_steps))
    final = peak * self.final_share
    numbers = _f32(final, peak - final)
    decay = Partial(_root_decay, *numbers, _length(decay_steps)[1])
    stable = Partial(_constant, np.float32(peak))
    return Partial(_joined, stable, decay, np.int32(num_steps - decay_steps))


def _f32(*numbers: float) -> list[np.float32]:
  return [np.float32(number) for number in numbers]


def _length(num_steps: int) -> tuple[np.int32, np.float32]:
  """A number of steps, and its inverse.

  XLA divides by a constant in this way; dividing by an argument would round the
  rates of earlier versions otherwise.
  """
  return np.int32(num_steps), np.float32(1) / np.float32(num_steps)


def _line(first: float, last: float, num_steps: int) -> Partial:
  numbers = _f32(first - last, last)
  return Partial(_on_line, *numbers, *_length(num_steps))


def _joined(before: Partial, after: Partial, border, step) -> jax.Array:
  return jnp.where(step < border, before(step), after(step - border))


def _constant(rate, step) -> jax.Array:
  return jnp.broadcast_to(rate, jnp.shape(step))


def _on_line(difference, last, num_steps, inverse, step) -> jax.Array:
  share = jnp.clip(step, 0, num_steps) * inverse
  return difference * (1 - share) + last


def _half_cosine(
  peak, falling, remaining, num_steps, inverse, step
) -> jax.Array:
  share = math.pi * jnp.minimum(step, num_steps) * inverse
  return peak * (falling * (0.5 * (1 + jnp.cos(share))) + remaining)


def _root_decay(last, difference, inverse, step) -> jax.Array:
  share = jnp.clip(step * inverse, 0.0, 1.0)
  return last + difference * (1 - jnp.sqrt(share))
