"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

import dataclasses
from collections.abc import Mapping

import optax

from bert_jax.optim.base import Optimizer, decayed_weights
from bert_jax.param_info import ParamInfo


@dataclasses.dataclass(kw_only=True, slots=True)
class AdamWConfig(Optimizer):
  """Config of bias-corrected Adam with decoupled weight decay."""

  b1: float = 0.9
  b2: float = 0.999
  epsilon: float = 1e-6

  def transforms(
    self, infos: Mapping[str, ParamInfo]
  ) -> tuple[optax.GradientTransformation, ...]:
    return (
      optax.scale_by_adam(self.b1, self.b2, self.epsilon),
      decayed_weights(infos, self.weight_decay),
    )
