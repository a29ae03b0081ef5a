"""Losses that a classifier is trained with, and their options.

The figures of a task do not depend on them: `eval_loss` is always the plain
cross-entropy, so that runs with other options compare.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from bert_jax.errors import InputError, quoted
from bert_jax.objectives.base import Batch, SumAndWeight
from bert_jax.objectives.cross_entropy import class_cross_entropy, divergence
from bert_jax.tasks.text_task import TextTaskConfig

_BALANCED = 'balanced'
_LOSS, _R_DROP = 'classification_loss', 'r_drop_loss'


@dataclasses.dataclass(kw_only=True, slots=True)
class ClassLossConfig(TextTaskConfig):
  """Fields of the losses; see TextTaskConfig for the others.

  `label_smoothing`: the share of a label that is spread evenly over all
  classes (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).
  `class_weights`: 'balanced' multiplies the losses of an example by n / (C n_c)
  for n training examples, C classes, and n_c examples of its class, as in
  scikit-learn; '' leaves them.
  `r_drop`: alpha of R-Drop (Liang et al. 2021,
  https://arxiv.org/abs/2106.14448). Each text passes twice, with other dropout;
  its loss is the mean of both, plus alpha times the mean of both divergences
  between their predictions. 0: one pass.
  """

  label_smoothing: float = 0.0
  class_weights: str = ''
  r_drop: float = 0.0

  def validate(self) -> None:
    TextTaskConfig.validate(self)
    if not 0 <= self.label_smoothing < 1:
      raise InputError(
        f'task.label_smoothing is {self.label_smoothing}; it must be in [0, 1)'
      )
    if self.class_weights not in ('', _BALANCED):
      raise InputError(
        f'task.class_weights is {quoted(self.class_weights)}; choose '
        f"{_BALANCED}, or '' for none"
      )
    if not 0 <= self.r_drop < math.inf:
      raise InputError(
        f'task.r_drop is {self.r_drop}; it must be 0 (off) or above, and finite'
      )

  @property
  def num_passes(self) -> int:
    """Passes of each text in a step."""
    return 2 if self.r_drop else 1

  @property
  def needs_dropout(self) -> str:
    """The reason why there must be dropout; '' if nothing needs it."""
    if not self.r_drop:
      return ''
    return 'nothing else tells the two passes of task.r_drop apart'

  def weights_of(
    self, labels: Sequence[str], names: Sequence[str]
  ) -> list[float]:
    """The weight of each of the classes `names`; none without the option."""
    if not self.class_weights:
      return []
    counts = collections.Counter(labels)
    return [len(labels) / (len(names) * counts[name]) for name in names]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassLosses:
  """The losses of some rows; ClassLossConfig explains the options.

  class_weights: the weight of each class, by its number; () for none.
  """

  label_smoothing: float = 0.0
  class_weights: Sequence[float] = ()
  r_drop: float = 0.0

  @property
  def coefficients(self) -> dict[str, float]:
    """The factor of each loss."""
    second = {_R_DROP: self.r_drop} if self.r_drop else {}
    return {_LOSS: 1.0} | second

  def __call__(
    self, batch: Batch, logits_BC: jax.Array, again_BC: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    """Returns (losses, metrics); `again_BC` are the logits of a second pass."""
    labels_B, weights_B = batch['labels'], batch['label_weights']
    weight = jnp.sum(weights_B)
    nll_B, hits_B = class_cross_entropy(
      logits_BC, labels_B, self.label_smoothing
    )
    metrics = {'accuracy': (jnp.sum(hits_B * weights_B), weight)}
    if self.class_weights:
      weights_B *= jnp.array(self.class_weights, jnp.float32)[labels_B]
    losses = {}
    if again_BC is not None:
      more_B, _ = class_cross_entropy(again_BC, labels_B, self.label_smoothing)
      nll_B = (nll_B + more_B) / 2
      apart_B = divergence(logits_BC, again_BC)
      losses[_R_DROP] = (jnp.sum(apart_B * weights_B), weight)
    losses[_LOSS] = (jnp.sum(nll_B * weights_B), weight)
    return losses, metrics
