"""Muon: orthogonalised momentum, for the matrices inside the layers.

Sources: Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/), and
Liu et al. 2025 (https://arxiv.org/abs/2502.16982) for the scale of an update.
"""

import collections
import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bert_jax.errors import InputError
from bert_jax.optim.base import Optimizer, by_info, decayed_weights
from bert_jax.param_info import ATTENTION_KINDS, MLP_KINDS, ParamInfo

_MATRICES, _OTHERS = 'matrices', 'others'


@dataclasses.dataclass(kw_only=True, slots=True)
class MuonConfig(Optimizer):
  """Muon for the matrices of attention and feed-forward, Adam for the rest.

  momentum: the factor of Nesterov momentum. newton_schulz_steps: the number of
  iterations that make the momentum nearly orthogonal. update_rms: the root mean
  square of a matrix's update before the learning rate; AdamW has about 0.2, so
  that value suits the learning rates and weight decay of AdamW.

  adam_learning_rate: the peak rate of all other parameters, on the same
  schedule; 0 takes `learning_rate`. b1, b2, epsilon: fields of their Adam.
  """

  momentum: float = 0.95
  newton_schulz_steps: int = 5
  update_rms: float = 0.2
  adam_learning_rate: float = 0.0
  b1: float = 0.9
  b2: float = 0.999
  epsilon: float = 1e-6

  def validate(self) -> None:
    super(MuonConfig, self).validate()
    if not 0 <= self.momentum < 1:
      raise InputError(
        f'optimizer.momentum is {self.momentum}; it must be in [0, 1)'
      )
    if self.newton_schulz_steps < 1:
      raise InputError(
        f'optimizer.newton_schulz_steps is {self.newton_schulz_steps}; it must '
        'be 1 or more'
      )
    if self.update_rms <= 0 or self.adam_learning_rate < 0:
      raise InputError(
        f'optimizer.update_rms={self.update_rms} must be above 0 and '
        f'adam_learning_rate={self.adam_learning_rate} may not be negative'
      )

  def transforms(
    self, infos: Mapping[str, ParamInfo]
  ) -> tuple[optax.GradientTransformation, ...]:
    decay = decayed_weights(infos, self.weight_decay)
    rate = self.adam_learning_rate or self.learning_rate
    matrices = optax.chain(
      optax.trace(self.momentum, nesterov=True),
      _orthogonalise(infos, self.newton_schulz_steps, self.update_rms),
      decay,
    )
    others = optax.chain(
      optax.scale_by_adam(self.b1, self.b2, self.epsilon),
      decay,
      optax.scale(rate / self.learning_rate),
    )
    groups: dict[Hashable, optax.GradientTransformation] = {
      _MATRICES: matrices,
      _OTHERS: others,
    }
    return (optax.partition(groups, by_info(infos, _group)),)


def _group(info: ParamInfo) -> str:
  is_hidden = info.kind in (*ATTENTION_KINDS, *MLP_KINDS)
  return _MATRICES if is_hidden else _OTHERS


def _orthogonalise(
  infos: Mapping[str, ParamInfo], num_steps: int, rms: float
) -> optax.GradientTransformation:
  """Replaces matrices by rms x sqrt(longer side) x the nearest orthogonal one.

  An orthogonal matrix has a root mean square of 1 / sqrt(its longer side).
  Matrices of one shape form one batch, so that the number of products in the
  program depends on the number of shapes, not of layers.
  """
  declared = by_info(infos, lambda info: info)

  def update(updates: Any, _: Any) -> Any:
    leaves, tree = jax.tree.flatten(updates)
    numbers = collections.defaultdict(list)
    for number, info in enumerate(jax.tree.leaves(declared(updates))):
      numbers[info.matrix_shape(leaves[number].shape)].append(number)
    for shape, found in numbers.items():
      stack = jnp.stack([leaves[number].reshape(shape) for number in found])
      scaled = rms * max(shape) ** 0.5 * _newton_schulz(stack, num_steps)
      for place, number in enumerate(found):
        leaves[number] = scaled[place].reshape(leaves[number].shape)
    return jax.tree.unflatten(tree, leaves)

  return optax.stateless(update)


def _newton_schulz(stack: jax.Array, num_steps: int) -> Any:
  """Applies the quintic iteration to each matrix of [n, inputs, outputs]."""
  # Without momentum, the rule of optax is the iteration alone.
  rule = optax.contrib.scale_by_muon(
    ns_steps=num_steps,
    beta=0.0,
    nesterov=False,
    weight_dimension_numbers=optax.contrib.MuonDimensionNumbers(1, 2),
  )
  return rule.update(stack, rule.init(stack))[0]
