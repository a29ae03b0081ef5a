"""LAMB, for large batches: Adam whose steps scale with each parameter's norm.

Source: You et al. 2020, https://arxiv.org/abs/1904.00962.
"""

import dataclasses
from collections.abc import Mapping

import optax

from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.base import by_info
from bert_jax.param_info import ParamInfo


@dataclasses.dataclass(kw_only=True, slots=True)
class LambConfig(AdamWConfig):
  """AdamW with its step scaled to the norm of each parameter.

  Biases and norms, which do not decay, keep the step of Adam, as in the code of
  google-research/albert.
  """

  def transforms(
    self, infos: Mapping[str, ParamInfo]
  ) -> tuple[optax.GradientTransformation, ...]:
    trust = optax.masked(
      optax.scale_by_trust_ratio(), by_info(infos, lambda info: info.decays)
    )
    return *super(LambConfig, self).transforms(infos), trust
