"""AdamW with clipping by global norm and a decay mask: one optax chain."""

import dataclasses

import jax
import optax

from bert_jax.errors import InputError
from bert_jax.optim.schedules import Linear, Schedule


@dataclasses.dataclass(kw_only=True, slots=True)
class AdamWConfig:
  """Bias-corrected Adam, decoupled decay (Loshchilov and Hutter 2019).

  `clip_norm` 0 turns clipping off.
  """

  learning_rate: float = 1e-4
  schedule: Schedule = dataclasses.field(
    default_factory=lambda: Linear(warmup_share=0.1)
  )
  b1: float = 0.9
  b2: float = 0.999
  epsilon: float = 1e-6
  weight_decay: float = 0.01
  clip_norm: float = 1.0

  def validate(self) -> None:
    if self.learning_rate <= 0:
      raise InputError(
        f'optimizer.learning_rate is {self.learning_rate}; it must be above 0'
      )
    if self.clip_norm < 0 or self.weight_decay < 0:
      raise InputError(
        f'optimizer.clip_norm={self.clip_norm} and weight_decay='
        f'{self.weight_decay} may not be negative; 0 turns them off'
      )

  def build(self) -> optax.GradientTransformation:
    """The direction of a step of size 1, negative; see train/step.py."""
    clip = optax.clip_by_global_norm(self.clip_norm)
    return optax.chain(
      clip if self.clip_norm else optax.identity(),
      optax.scale_by_adam(self.b1, self.b2, self.epsilon),
      optax.add_decayed_weights(self.weight_decay, decay_mask),
      # The learning rate multiplies in the step: it follows the step number,
      # which goes on where a non-finite update is skipped.
      optax.scale(-1.0),
    )

  def build_schedule(self, num_steps: int) -> optax.Schedule:
    return self.schedule.build(self.learning_rate, num_steps)


def decay_mask(params: optax.Params) -> optax.Params:
  """True where weights decay: neither biases nor norms (Devlin et al.)."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key in ('kernel', 'embedding'), params
  )
