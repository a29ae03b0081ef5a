"""What every optimizer has: clipping, decay, a schedule and rates by depth.

An optimizer is one file with one config class: a subclass of Optimizer whose
`transforms` returns its rule.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from bert_jax.errors import InputError
from bert_jax.optim.schedules import Linear, Schedule
from bert_jax.param_info import ParamInfo


@dataclasses.dataclass(kw_only=True, slots=True)
class Optimizer:
  """The fields of every optimizer.

  learning_rate: the peak of `schedule`. weight_decay: times the parameter,
  added to its direction; not for biases and norms. clip_norm: the highest norm
  of all gradients together; 0 turns clipping off. layer_decay: the learning
  rate of a layer relative to the one above it; heads have the full one, the
  embeddings the lowest. 1 gives all the same (Clark et al. 2020, ELECTRA).
  """

  learning_rate: float = 1e-4
  schedule: Schedule = dataclasses.field(
    default_factory=lambda: Linear(warmup_share=0.1)
  )
  weight_decay: float = 0.01
  clip_norm: float = 1.0
  layer_decay: float = 1.0

  def validate(self) -> None:
    """Raises InputError on values that cannot be."""
    if self.learning_rate <= 0:
      raise InputError(
        f'optimizer.learning_rate is {self.learning_rate}; it must be above 0'
      )
    if self.clip_norm < 0 or self.weight_decay < 0:
      raise InputError(
        f'optimizer.clip_norm={self.clip_norm} and weight_decay='
        f'{self.weight_decay} may not be negative; 0 turns them off'
      )
    # nan is in no interval either.
    if not 0 < self.layer_decay <= 1:
      raise InputError(
        f'optimizer.layer_decay is {self.layer_decay}; it must be above 0 and '
        'at most 1, which turns it off'
      )

  def build(
    self, infos: Mapping[str, ParamInfo]
  ) -> optax.GradientTransformation:
    """The direction of a step of size 1, negative.

    `infos` are the declarations of the parameters by their paths. The learning
    rate multiplies in the step (train/step.py): it follows the step number,
    which goes on where a non-finite update is skipped.
    """
    clip = optax.clip_by_global_norm(self.clip_norm)
    return optax.chain(
      clip if self.clip_norm else optax.identity(),
      *self.transforms(infos),
      _descend(infos, self.layer_decay),
    )

  def transforms(
    self, infos: Mapping[str, ParamInfo]
  ) -> tuple[optax.GradientTransformation, ...]:
    """The rule: clipped gradients -> the direction of growth."""
    raise NotImplementedError('choose an optimizer, e.g. AdamWConfig')

  def build_schedule(self, num_steps: int) -> optax.Schedule:
    return self.schedule.build(self.learning_rate, num_steps)


def decayed_weights(
  infos: Mapping[str, ParamInfo], weight_decay: float
) -> optax.GradientTransformation:
  """Adds `weight_decay` times each parameter that decays."""
  mask = by_info(infos, lambda info: info.decays)
  return optax.add_decayed_weights(weight_decay, mask)


def by_info(
  infos: Mapping[str, ParamInfo], choose: Callable[[ParamInfo], Any]
) -> Callable[[optax.Params], optax.Params]:
  """(tree like the parameters or a part of them) -> choose(info) of each."""

  def of_tree(tree: optax.Params) -> optax.Params:
    return jax.tree_util.tree_map_with_path(
      lambda path, _: choose(
        infos[jax.tree_util.keystr(path, simple=True, separator='/')]
      ),
      tree,
    )

  return of_tree


def _descend(
  infos: Mapping[str, ParamInfo], layer_decay: float
) -> optax.GradientTransformation:
  """Turns the direction round, with the share of the rate that a depth has."""
  if layer_decay == 1:
    return optax.scale(-1.0)
  depths = [info.depth for info in infos.values() if info.depth is not None]
  top = max(depths, default=0) + 1

  def share(info: ParamInfo) -> float:
    depth = top if info.depth is None else info.depth
    return -(layer_decay ** (top - depth))

  shares = by_info(infos, share)
  return optax.stateless(
    lambda updates, _: jax.tree.map(
      lambda update, share: share * update, updates, shares(updates)
    )
  )
