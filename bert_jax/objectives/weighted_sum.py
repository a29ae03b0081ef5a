"""A weighted sum of objectives, each loss over its own denominator.

Objectives share an encoder pass: the first one that corrupts its rows (masked
LM, replaced tokens) decides the ids that the encoder reads, and those that
corrupt nothing (sentence pairs) read the same hidden states, as in BERT and
ALBERT. Every further objective that corrupts has its own rows and pass.
"""

import dataclasses
import math
from typing import Any

import jax
from flax import nnx

from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.errors import InputError
from bert_jax.models.config import EncoderConfig
from bert_jax.models.dropout import fold
from bert_jax.models.heads import HeadBuilder
from bert_jax.models.masks import RowLayout
from bert_jax.objectives.base import (
  Batch,
  ObjectiveConfig,
  PretrainingObjective,
  SumAndWeight,
)

# Number folded into dropout seeds; larger than the encoder's numbers of layers.
_PASS_DROPOUT = 1 << 17


@dataclasses.dataclass(kw_only=True, slots=True)
class WeightedSumConfig:
  """Config of a sum; `weights` has one entry per objective, () for 1 each.

  If an objective and an earlier one share the name of a loss, the names of its
  losses and figures end in its number: `mlm_loss_2`.
  """

  objectives: tuple[ObjectiveConfig, ...]
  weights: tuple[float, ...] = ()

  def validate(self, field: str = 'objective') -> None:
    """Raises InputError on an invalid config; `field` is its name."""
    if not self.objectives:
      raise InputError(f'{field}.objectives is empty; give one or more')
    if self.weights and len(self.weights) != len(self.objectives):
      raise InputError(
        f'{field}.weights has {len(self.weights)} entries for '
        f'{len(self.objectives)} objectives; give one each, or none for 1 each'
      )
    for number, weight in enumerate(self.weights):
      if not 0 < weight < math.inf:
        raise InputError(
          f'{field}.weights[{number}] is {weight}; it must be above 0'
        )
    for number, part in enumerate(self.objectives):
      part.validate(f'{field}.objectives[{number}]')

  def build(self, table: TokenTable) -> 'WeightedSum':
    """Builds the sum; InputError on objectives that do not go together."""
    weights = self.weights or (1.0,) * len(self.objectives)
    return WeightedSum([part.build(table) for part in self.objectives], weights)


class WeightedSum:
  """A sum of objectives; objectives/base.py explains the methods.

  A prepared batch holds the arrays of the shared pass, and a dict for each
  further pass under its name in `passes`.
  """

  def __init__(
    self, parts: list[PretrainingObjective], weights: tuple[float, ...]
  ):
    self.parts = parts
    leaders = [n for n, part in enumerate(parts) if part.corrupts]
    self.first = leaders[0] if leaders else 0
    self.passes = {number: f'pass_{number + 1}' for number in leaders[1:]}
    self.corrupts = bool(leaders)
    self.predicts_tokens = any(part.predicts_tokens for part in parts)
    kinds = {part.pairs_kind for part in parts} - {''}
    if len(kinds) > 1:
      raise InputError(
        f'objective.objectives need pairs of {len(kinds)} kinds '
        f'({", ".join(sorted(kinds))}); a corpus has one, keep one of them'
      )
    self.pairs_kind = kinds.pop() if kinds else ''
    self.coefficients: dict[str, float] = {}
    self.suffixes = []
    for number, (part, weight) in enumerate(zip(parts, weights, strict=True)):
      is_taken = self.coefficients.keys() & part.coefficients.keys()
      self.suffixes.append(f'_{number + 1}' if is_taken else '')
      self.coefficients |= self._named(
        number, {name: weight * c for name, c in part.coefficients.items()}
      )

  def heads(self) -> dict[str, HeadBuilder]:
    heads: dict[str, HeadBuilder] = {}
    for part in self.parts:
      for name, head in part.heads().items():
        if heads.setdefault(name, head) != head:
          raise InputError(
            f'objective.objectives: two of them have a {name} of their own; '
            'keep one of the two'
          )
    return heads

  def prepare(
    self, batch: Batch, key: jax.Array, step: jax.Array | None = None
  ) -> Batch:
    prepared: Batch = {}
    for number, part in enumerate(self.parts):
      # The first objective draws the same masks as it would alone.
      own_key = jax.random.fold_in(key, number) if number else key
      own = part.prepare(batch, own_key, step)
      if number in self.passes:
        prepared[self.passes[number]] = own
      elif number == self.first:
        # The encoder reads this objective's `input_ids`.
        prepared = prepared | own
      else:
        prepared = own | prepared
    return prepared

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    found = {}
    for number, part in enumerate(self.parts):
      found |= self._named(number, part.weights(self._own(number, batch)))
    return found

  def encode(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> Batch:
    encoded = self.parts[self.first].encode(model, batch, dropout_seeds_B)
    for number, name in self.passes.items():
      encoded[name] = self.parts[number].encode(
        model, batch[name], fold(dropout_seeds_B, _PASS_DROPOUT + number)
      )
    return encoded

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    losses: SumAndWeight = {}
    metrics: SumAndWeight = {}
    for number, part in enumerate(self.parts):
      own_losses, own_metrics = part.losses(
        model, self._own(number, batch), dropout_seeds_B
      )
      losses |= self._named(number, own_losses)
      metrics |= self._named(number, own_metrics)
    return losses, metrics

  def token_logits(
    self,
    model: nnx.Module,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    places_BM: jax.Array,
  ) -> jax.Array:
    part = next(part for part in self.parts if part.predicts_tokens)
    return part.token_logits(model, input_ids_BT, layout, places_BM)

  def flops_per_row(self, config: EncoderConfig, row_length: int) -> float:
    """FLOPs of all passes; the small heads that share one are left out."""
    return sum(
      self.parts[number].flops_per_row(config, row_length)
      for number in (self.first, *self.passes)
    )

  def _own(self, number: int, batch: Batch) -> Batch:
    return batch[self.passes[number]] if number in self.passes else batch

  def _named(self, number: int, figures: dict[str, Any]) -> dict[str, Any]:
    suffix = self.suffixes[number]
    return {name + suffix: value for name, value in figures.items()}
