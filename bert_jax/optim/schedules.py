"""Learning-rate schedules: a linear warm-up, then one of several shapes.

Each schedule is a config whose `build` returns a function from the step to the
learning rate (f32 scalar). The warm-up is given in steps (`warmup_steps`) or as
a share of the run (`warmup_share`), whichever is above 0.
"""

import dataclasses

import jax.numpy as jnp
import optax

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

  def build(self, peak: float, num_steps: int) -> optax.Schedule:
    warmup = self.num_warmup_steps(num_steps)
    body = self.after_warmup(peak, num_steps - warmup)
    if not warmup:
      return body
    # Learning begins at step 0: (step + 1) / warmup, not step / warmup.
    ramp = optax.linear_schedule(peak / warmup, peak, max(1, warmup - 1))
    return optax.join_schedules([ramp, body], [warmup])

  def after_warmup(self, peak: float, num_steps: int) -> optax.Schedule:
    raise NotImplementedError('choose a schedule with a shape, e.g. Linear')


@dataclasses.dataclass(kw_only=True, slots=True)
class Linear(Schedule):
  """Linear decay to the end of the run, as in BERT."""

  def after_warmup(self, peak: float, num_steps: int) -> optax.Schedule:
    return optax.linear_schedule(peak, peak * self.final_share, num_steps)


@dataclasses.dataclass(kw_only=True, slots=True)
class Cosine(Schedule):
  """Cosine decay to the end of the run, half a period."""

  def after_warmup(self, peak: float, num_steps: int) -> optax.Schedule:
    return optax.cosine_decay_schedule(peak, num_steps, self.final_share)


@dataclasses.dataclass(kw_only=True, slots=True)
class WarmupStableDecay(Schedule):
  """Constant rate, then 1 - sqrt decay over the last `decay_share` of the run.

  A run can be prolonged from any checkpoint of its constant part. Source of
  the shape: Hägele et al. 2024 (https://arxiv.org/abs/2405.18392).
  """

  decay_share: float = 0.2

  def after_warmup(self, peak: float, num_steps: int) -> optax.Schedule:
    if not 0 < self.decay_share <= 1:
      raise InputError(
        f'schedule.decay_share is {self.decay_share}; it must be in (0, 1]'
      )
    decay_steps = max(1, round(self.decay_share * num_steps))
    final = peak * self.final_share

    def decay(step):
      share = jnp.clip(step / decay_steps, 0.0, 1.0)
      return final + (peak - final) * (1 - jnp.sqrt(share))

    return optax.join_schedules(
      [optax.constant_schedule(peak), decay], [num_steps - decay_steps]
    )
