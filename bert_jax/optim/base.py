"""Base of every optimizer: clipping, decay, a schedule and rates by depth.

Each optimizer is one file with one config class: a subclass of Optimizer whose
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

  learning_rate: the peak of `schedule`. weight_decay: this factor times the
  parameter is added to its direction, except for biases and norms. clip_norm:
  the highest norm of all gradients together; 0 turns clipping off. layer_decay:
  the learning rate of a layer relative to the layer above it, so that heads
  have the full rate and embeddings the lowest; 1 gives all layers the same rate
  (Clark et al. 2020, ELECTRA).
  """

  learning_rate: float = 1e-4
  schedule: Schedule = dataclasses.field(
    default_factory=lambda: Linear(warmup_share=0.1)
  )
  weight_decay: float = 0.01
  clip_norm: float = 1.0
  layer_decay: float = 1.0

  def validate(self) -> None:
    """Raises InputError on invalid values."""
    # The comparison also refuses nan, and what f32 cannot hold.
    if not 0 < self.learning_rate < 1e38:
      raise InputError(
        f'optimizer.learning_rate is {self.learning_rate}; it must be above 0 '
        'and finite'
      )
    if self.clip_norm < 0 or self.weight_decay < 0:
      raise InputError(
        f'optimizer.clip_norm={self.clip_norm} and weight_decay='
        f'{self.weight_decay} may not be negative; 0 turns them off'
      )
    # The comparison also refuses nan.
    if not 0 < self.layer_decay <= 1:
      raise InputError(
        f'optimizer.layer_decay is {self.layer_decay}; it must be above 0 and '
        'at most 1, which turns it off'
      )

  def build(
    self, infos: Mapping[str, ParamInfo]
  ) -> optax.GradientTransformation:
    """Builds the transformation of gradients to an update of learning rate 1.

    `infos` are the declarations of the parameters by their paths. The training
    step (train/step.py) multiplies by the learning rate, which follows the step
    number, even past skipped non-finite updates.
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
    """Returns the rule, from clipped gradients to the direction of growth."""
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
  """A function from a tree of parameters, or a part, to a tree of choose(info).

  `choose` gets the declaration of the parameter at each path.
  """

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
  """Reverses the direction, scaled by each depth's share of the rate."""
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
