"""Sentence-pair objectives: next sentence, and sentence order.

Both share this file: they differ in how `prepare --pairs` draws the pairs; on
the device they differ only in name. Sources: Devlin et al. 2019, section 3.1
(next sentence); Lan et al. 2020, section 3.1 (sentence order).
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.data.side_files import NEXT_SENTENCE, PAIR_KINDS
from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.errors import InputError, quoted
from bert_jax.models.config import EncoderConfig
from bert_jax.models.flops import flops_per_row
from bert_jax.models.heads import HeadBuilder, NextSentenceHead, Pooler
from bert_jax.objectives.base import (
  Batch,
  SumAndWeight,
  derive_layout,
  with_hidden_states,
)
from bert_jax.objectives.cross_entropy import class_cross_entropy


@dataclasses.dataclass(kw_only=True, slots=True)
class SentencePairsConfig:
  """Config of a sentence-pair objective.

  kind: 'next_sentence' or 'sentence_order', the value of `prepare --pairs`.
    Names of losses and figures begin with it: `next_sentence_loss`.
  """

  kind: str = NEXT_SENTENCE

  def validate(self, field: str = 'objective') -> None:
    """Raises InputError on an invalid config; `field` is its name."""
    if self.kind not in PAIR_KINDS:
      raise InputError(
        f'{field}.kind is {quoted(self.kind)}; choose one of '
        f'{", ".join(PAIR_KINDS)}'
      )

  def build(self, table: TokenTable) -> 'SentencePairs':
    return SentencePairs(self.kind, table)


class SentencePairs:
  """A sentence-pair objective; objectives/base.py explains the methods.

  Every pair of a packed row has its own label and the same weight.
  """

  corrupts = False
  predicts_tokens = False

  def __init__(self, kind: str, table: TokenTable):
    self.pairs_kind = kind
    self.table = table
    self.coefficients = {f'{kind}_loss': 1.0}

  def heads(self) -> dict[str, HeadBuilder]:
    return {'pooler': Pooler, f'{self.pairs_kind}_head': NextSentenceHead}

  def prepare(
    self, batch: Batch, key: jax.Array, step: jax.Array | None = None
  ) -> Batch:
    """Adds the row layout, and the position of each pair's [CLS].

    `pair_labels` int [B, S] are 0, 1, or -1 where a row has no further pair;
    rows of weight 0 (`row_weights`) give pairs of weight 0. Nothing here is
    random or follows a schedule.
    """
    del key, step
    ids_BT, labels_BS = batch['input_ids'], batch['pair_labels']
    table = self.table
    layout = derive_layout(ids_BT, table)
    positions_BS = jax.vmap(
      lambda is_cls_T: jnp.nonzero(
        is_cls_T, size=labels_BS.shape[1], fill_value=0
      )[0]
    )(ids_BT == table.cls_id)
    weights_BS = (labels_BS >= 0).astype(jnp.float32)
    if 'row_weights' in batch:
      weights_BS = weights_BS * batch['row_weights'][:, None]
    return layout._asdict() | {
      'input_ids': ids_BT,
      'pair_positions': positions_BS.astype(jnp.int32),
      'pair_labels': jnp.maximum(labels_BS, 0),
      'pair_weights': weights_BS,
    }

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    return {f'{self.pairs_kind}_loss': jnp.sum(batch['pair_weights'])}

  def encode(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> Batch:
    return with_hidden_states(model, batch, dropout_seeds_B)

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    # Google's code has no dropout between pooler and classifier either.
    del dropout_seeds_B
    cls_BSD = jnp.take_along_axis(
      batch['hidden_states'], batch['pair_positions'][..., None], axis=1
    )
    head = getattr(model, f'{self.pairs_kind}_head')
    logits_BSC = head(model.pooler(cls_BSD)).astype(jnp.float32)
    labels_BS, weights_BS = batch['pair_labels'], batch['pair_weights']
    nll_BS, hits_BS = class_cross_entropy(logits_BSC, labels_BS)
    weight = jnp.sum(weights_BS)
    return (
      {f'{self.pairs_kind}_loss': (jnp.sum(nll_BS * weights_BS), weight)},
      {f'{self.pairs_kind}_accuracy': (jnp.sum(hits_BS * weights_BS), weight)},
    )

  def flops_per_row(self, config: EncoderConfig, row_length: int) -> float:
    """FLOPs of the encoder; the small head, one vector a pair, is left out."""
    return flops_per_row(config, row_length, 0)
