"""LAMB, for large batches: Adam whose steps scale with each parameter's norm.

Source: You et al. 2020, https://arxiv.org/abs/1904.00962.
"""

import dataclasses
from collections.abc import Mapping

import optax

from bert_jax.optim.base import Optimizer, by_info, decayed_weights
from bert_jax.param_info import ParamInfo


@dataclasses.dataclass(kw_only=True, slots=True)
class LambConfig(Optimizer):
  """Config of bias-corrected Adam with decay, scaled to each parameter's norm.

  Biases and norms, which do not decay, keep Adam's step, as in the code of
  google-research/albert.
  """

  b1: float = 0.9
  b2: float = 0.999
  epsilon: float = 1e-6

  def transforms(
    self, infos: Mapping[str, ParamInfo]
  ) -> tuple[optax.GradientTransformation, ...]:
    return (
      optax.scale_by_adam(self.b1, self.b2, self.epsilon),
      decayed_weights(infos, self.weight_decay),
      optax.masked(
        optax.scale_by_trust_ratio(), by_info(infos, lambda info: info.decays)
      ),
    )
