"""Masked language modelling: predict the tokens that were hidden."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.errors import InputError, quoted
from bert_jax.models.config import EncoderConfig
from bert_jax.models.flops import flops_per_row
from bert_jax.models.heads import HeadBuilder, MaskedLMHead
from bert_jax.models.masks import RowLayout
from bert_jax.objectives import corruption
from bert_jax.objectives.base import (
  Batch,
  SumAndWeight,
  derive_layout,
  row_keys,
  with_hidden_states,
)
from bert_jax.objectives.cross_entropy import cross_entropy, in_pieces
from bert_jax.objectives.mask_rate import (
  MaskRate,
  check_mask_rates,
  mask_rate_at,
)

SELECTIONS = ('token', 'whole_word', 'span')
# Upper bound of a span's length: no row has more words.
MAX_SPAN_WORDS = 2**16


@dataclasses.dataclass(kw_only=True, slots=True)
class MaskedLMConfig:
  """Config of masked language modelling.

  A share `mask_rate` of a row's ordinary tokens is predicted. Of these,
  `mask_share` show [MASK], `random_share` show a random ordinary token, and the
  rest stay. `selection`: 'token', 'whole_word', or 'span'; a span ends after
  each whole word with probability `span_end_probability`, and at the latest
  after `max_span_words`. With `mask_rates`, training follows the line through
  these points, and `mask_rate` applies to evaluation alone.
  """

  mask_rate: float = 0.15
  mask_rates: tuple[MaskRate, ...] = ()
  mask_share: float = 0.8
  random_share: float = 0.1
  selection: str = 'token'
  span_end_probability: float = 0.2
  max_span_words: int = 10

  def validate(self, field: str = 'objective') -> None:
    """Raises InputError on an invalid config; `field` is its name."""
    if not 0 < self.mask_rate < 1:
      raise InputError(
        f'{field}.mask_rate is {self.mask_rate}; it must be between 0 and 1'
      )
    check_mask_rates(self.mask_rates, f'{field}.mask_rates')
    shares = (self.mask_share, self.random_share)
    if min(shares) < 0 or sum(shares) > 1 + 1e-9:
      raise InputError(
        f'{field}.mask_share={shares[0]} and random_share={shares[1]}: '
        'neither may be negative, nor their sum above 1'
      )
    if self.selection not in SELECTIONS:
      raise InputError(
        f'{field}.selection is {quoted(self.selection)}; '
        f'choose one of {", ".join(SELECTIONS)}'
      )
    if not 0 < self.span_end_probability < 1:
      raise InputError(
        f'{field}.span_end_probability is {self.span_end_probability}; it must '
        'be between 0 and 1'
      )
    if not 1 <= self.max_span_words <= MAX_SPAN_WORDS:
      raise InputError(
        f'{field}.max_span_words is {self.max_span_words}; it must be between '
        f'1 and {MAX_SPAN_WORDS}'
      )

  def max_mask_rate(self) -> float:
    """The highest rate in training, which decides the capacity of a row."""
    return max((p.rate for p in self.mask_rates), default=self.mask_rate)

  def build(self, table: TokenTable) -> 'MaskedLM':
    return MaskedLM(self, table)


class MaskedLM:
  """Masked language modelling; objectives/base.py explains the methods."""

  corrupts = True
  pairs_kind = ''
  predicts_tokens = True
  coefficients = {'mlm_loss': 1.0}

  def __init__(self, config: MaskedLMConfig, table: TokenTable):
    self.config = config
    self.table = table
    self.is_special = np.zeros(table.vocab_size, bool)
    self.is_special[table.special_ids] = True

  def heads(self) -> dict[str, HeadBuilder]:
    return {'mlm_head': MaskedLMHead}

  @jax.named_scope('masks')
  def prepare(
    self, batch: Batch, key: jax.Array, step: jax.Array | None = None
  ) -> Batch:
    """Adds the row layout and masks to `input_ids` and `example_number`.

    Whole words come from `word_starts` bool [B, T] if the batch has them, or
    else from the tokenizer's table. Rows of weight 0 (`row_weights`, if
    evaluation fills its last batch) give masked positions of weight 0.
    """
    ids_BT = batch['input_ids']
    table = self.table
    layout = derive_layout(ids_BT, table)
    keys_B = row_keys(key, batch['example_number'])
    # Word starts of a segmenter, if the corpus was prepared with one.
    starts_BT = batch.get('word_starts')
    if starts_BT is None:
      starts_BT = jnp.asarray(table.word_starts)[ids_BT]
    rate, max_rate = self.config.mask_rate, self.config.mask_rate
    if step is not None and self.config.mask_rates:
      rate = mask_rate_at(self.config.mask_rates, step)
      max_rate = self.config.max_mask_rate()
    max_masked = corruption.capacity(max_rate, ids_BT.shape[1])
    masked, corrupted_BT = jax.vmap(
      lambda key, ids_T, starts_T: self._corrupt_row(
        key, ids_T, starts_T, rate, max_masked
      )
    )(keys_B, ids_BT, starts_BT)
    weights_BM = masked.weights
    if 'row_weights' in batch:
      weights_BM = weights_BM * batch['row_weights'][:, None]
    return layout._asdict() | {
      'input_ids': corrupted_BT,
      'masked_positions': masked.positions,
      'masked_ids': masked.ids,
      'masked_weights': weights_BM,
    }

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    return {'mlm_loss': jnp.sum(batch['masked_weights'])}

  def encode(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> Batch:
    return with_hidden_states(model, batch, dropout_seeds_B)

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    hidden_BMD = at_masked(batch, batch['hidden_states'])
    embedding_VE = model.encoder.embeddings.token.embedding[...]

    def losses_of(hidden_BMD, ids_BM, weights_BM):
      return self.losses_of(
        {'masked_ids': ids_BM, 'masked_weights': weights_BM},
        model.mlm_head(hidden_BMD, embedding_VE),
      )

    return in_pieces(
      losses_of,
      (hidden_BMD, batch['masked_ids'], batch['masked_weights']),
      embedding_VE.shape[0],
    )

  def token_logits(
    self,
    model: nnx.Module,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    places_BM: jax.Array,
  ) -> jax.Array:
    hidden_BTD = model.encoder(input_ids_BT, layout)
    hidden_BMD = at_masked({'masked_positions': places_BM}, hidden_BTD)
    embedding_VE = model.encoder.embeddings.token.embedding[...]
    return model.mlm_head(hidden_BMD, embedding_VE)

  def flops_per_row(self, config: EncoderConfig, row_length: int) -> float:
    return flops_per_row(config, row_length, self.num_predicted(row_length))

  def num_predicted(self, row_length: int) -> int:
    """Number of places for masked positions in a row of training."""
    return corruption.capacity(self.config.max_mask_rate(), row_length)

  def losses_of(
    self, batch: Batch, logits_BMV: jax.Array
  ) -> tuple[SumAndWeight, SumAndWeight]:
    """Returns `losses` from vocabulary scores at masked positions."""
    ids_BM, weights_BM = batch['masked_ids'], batch['masked_weights']
    nll_BM, hits_BM = cross_entropy(logits_BMV, ids_BM)
    weight = jnp.sum(weights_BM)
    return (
      {'mlm_loss': (jnp.sum(nll_BM * weights_BM), weight)},
      {'masked_accuracy': (jnp.sum(hits_BM * weights_BM), weight)},
    )

  def _corrupt_row(
    self,
    key: jax.Array,
    ids_T: jax.Array,
    word_starts_T: jax.Array,
    rate: float | jax.Array,
    max_masked: int,
  ) -> tuple[corruption.Masked, jax.Array]:
    config, table = self.config, self.table
    select_key, replace_key = jax.random.split(key)
    spans_M = None
    eligible_T = ~jnp.asarray(self.is_special)[ids_T]
    # Every row with text has at least one masked token, as in Google's code.
    num_eligible = jnp.sum(eligible_T)
    budget = jnp.round(rate * num_eligible).astype(jnp.int32)
    budget = jnp.clip(budget, jnp.minimum(1, num_eligible), max_masked)
    # Words never cross a segment: [CLS] and [SEP] end a word, and the token
    # after them starts one.
    word_starts_T = word_starts_T | jnp.append(True, ~eligible_T[:-1])
    words = (select_key, eligible_T, word_starts_T, budget, max_masked)
    if config.selection == 'span':
      positions_M, used_M, spans_M = corruption.select_spans(
        *words,
        end_probability=config.span_end_probability,
        max_words=config.max_span_words,
      )
    elif config.selection == 'whole_word':
      positions_M, used_M = corruption.select_words(*words)
    else:
      positions_M, used_M = corruption.select_tokens(
        select_key, eligible_T, budget, max_masked
      )
    masked_ids_M = ids_T[positions_M]
    shown_M = corruption.replace(
      replace_key,
      masked_ids_M,
      mask_id=table.mask_id,
      ordinary_ids=table.ordinary_ids,
      mask_share=config.mask_share,
      random_share=config.random_share,
      spans_M=spans_M,
    )
    shown_M = jnp.where(used_M, shown_M, masked_ids_M)
    masked = corruption.Masked(
      positions_M, masked_ids_M, used_M.astype(jnp.float32)
    )
    return masked, ids_T.at[positions_M].set(shown_M)


def at_masked(batch: Batch, hidden_BTD: jax.Array) -> jax.Array:
  """Hidden states [B, M, D] at masked positions, about a seventh of all.

  Only these reach the product with the vocabulary.
  """
  return jnp.take_along_axis(
    hidden_BTD, batch['masked_positions'][..., None], axis=1
  )
