"""Replaced-token detection (ELECTRA): find the tokens that a generator chose.

A small masked LM, the generator, fills masked positions with samples; the
encoder, as discriminator, tells for each token whether it is the text's own.
Source: Clark et al. 2020, and run_pretraining.py of google-research/electra. A
difference: special tokens are left out of the loss, since none is ever
replaced.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.data.tokenizers.base import TokenTable
from bert_jax.errors import InputError
from bert_jax.models.config import EncoderConfig, electra_generator
from bert_jax.models.dropout import fold
from bert_jax.models.flops import dense_flops, flops_per_row
from bert_jax.models.generator import Generator
from bert_jax.models.heads import HeadBuilder, ReplacedTokenHead
from bert_jax.models.masks import RowLayout
from bert_jax.objectives.base import (
  Batch,
  SumAndWeight,
  layout_of,
  row_keys,
  with_hidden_states,
)
from bert_jax.objectives.mlm import MaskedLM, MaskedLMConfig, at_masked

# Number folded into a row's key for samples; the key itself draws the masks.
_SAMPLES = 1
# Number folded into dropout seeds; larger than the encoder's numbers of layers.
_GENERATOR_DROPOUT = 1 << 16


def _generator_masks() -> MaskedLMConfig:
  """Masks without random tokens, as in Google's code: [MASK] or the token."""
  return MaskedLMConfig(mask_share=0.85, random_share=0.0)


@dataclasses.dataclass(kw_only=True, slots=True)
class ReplacedTokenConfig:
  """Config of replaced-token detection.

  `mlm` sets the masks and is the generator's objective. The loss is mlm_loss +
  `replaced_weight` x replaced_loss. The generator has a share `generator_width`
  of the encoder's width and shares its embeddings. Published widths: 1/4 for
  small and large (which has mask_rate 0.25), 1/3 for base.
  """

  mlm: MaskedLMConfig = dataclasses.field(default_factory=_generator_masks)
  generator_width: float = 0.25
  replaced_weight: float = 50.0

  def validate(self, field: str = 'objective') -> None:
    """Raises InputError on an invalid config; `field` is its name."""
    self.mlm.validate(f'{field}.mlm')
    if not 0 < self.generator_width <= 1:
      raise InputError(
        f'{field}.generator_width is {self.generator_width}; it must be above '
        '0 and at most 1'
      )
    if not 0 < self.replaced_weight < math.inf:
      raise InputError(
        f'{field}.replaced_weight is {self.replaced_weight}; it must be above 0'
      )

  def build(self, table: TokenTable) -> 'ReplacedToken':
    return ReplacedToken(self, table)


class ReplacedToken:
  """Replaced-token detection; objectives/base.py explains the methods.

  Losses and figures of the generator have the same names as those of MaskedLM.
  """

  corrupts = True
  pairs_kind = ''
  predicts_tokens = True

  def __init__(self, config: ReplacedTokenConfig, table: TokenTable):
    self.config = config
    self.mlm = MaskedLM(config.mlm, table)
    self.coefficients = self.mlm.coefficients | {
      'replaced_loss': config.replaced_weight
    }
    self.is_special = np.zeros(table.vocab_size, bool)
    self.is_special[table.special_ids] = True

  def heads(self) -> dict[str, HeadBuilder]:
    generator = functools.partial(
      Generator, width_share=self.config.generator_width
    )
    return {'replaced_token_head': ReplacedTokenHead, 'generator': generator}

  def prepare(
    self, batch: Batch, key: jax.Array, step: jax.Array | None = None
  ) -> Batch:
    """Prepares the batch as MaskedLM does; the generator reads `input_ids`.

    Adds `sample_keys` uint32 [B, 2], one per row, `clean_ids` [B, T], and
    `token_weights` f32 [B, T], 0 on special tokens and padding.
    """
    ids_BT = batch['input_ids']
    sample_keys_B = row_keys(
      jax.random.fold_in(key, _SAMPLES), batch['example_number']
    )
    weights_BT = (~jnp.asarray(self.is_special)[ids_BT]).astype(jnp.float32)
    if 'row_weights' in batch:
      weights_BT = weights_BT * batch['row_weights'][:, None]
    return self.mlm.prepare(batch, key, step) | {
      'clean_ids': ids_BT,
      'sample_keys': jax.random.key_data(sample_keys_B),
      'token_weights': weights_BT,
    }

  def weights(self, batch: Batch) -> dict[str, jax.Array]:
    return self.mlm.weights(batch) | {
      'replaced_loss': jnp.sum(batch['token_weights'])
    }

  def encode(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> Batch:
    """Runs the generator, draws tokens from it, and encodes them.

    Adds `generator_logits` f32 [B, M, V] and `is_replaced` bool [B, T]. A drawn
    token that equals the text's own does not count as replaced.
    """
    embeddings = model.encoder.embeddings
    hidden_BTG = model.generator(
      embeddings,
      batch['input_ids'],
      layout_of(batch),
      fold(dropout_seeds_B, _GENERATOR_DROPOUT),
    )
    logits_BMV = model.generator.mlm_head(
      at_masked(batch, hidden_BTG), embeddings.token.embedding[...]
    )
    drawn_BM = jax.vmap(_draw)(batch['sample_keys'], logits_BMV)
    is_masked_BM = batch['masked_weights'] > 0
    shown_BM = jnp.where(is_masked_BM, drawn_BM, batch['masked_ids'])
    shown_BT = jax.vmap(
      lambda ids_T, at_M, shown_M: ids_T.at[at_M].set(shown_M)
    )(batch['clean_ids'], batch['masked_positions'], shown_BM)
    encoded = with_hidden_states(
      model, batch | {'input_ids': shown_BT}, dropout_seeds_B
    )
    return encoded | {
      'generator_logits': logits_BMV,
      'is_replaced': shown_BT != batch['clean_ids'],
    }

  def losses(
    self, model: nnx.Module, batch: Batch, dropout_seeds_B: jax.Array | None
  ) -> tuple[SumAndWeight, SumAndWeight]:
    del dropout_seeds_B
    losses, metrics = self.mlm.losses_of(batch, batch['generator_logits'])
    logits_BT = model.replaced_token_head(batch['hidden_states'])
    is_replaced_BT, weights_BT = batch['is_replaced'], batch['token_weights']
    guess_BT = logits_BT > 0
    nll_BT = jax.nn.softplus(jnp.where(is_replaced_BT, -logits_BT, logits_BT))

    def count(chosen_BT: jax.Array) -> jax.Array:
      return jnp.sum(chosen_BT * weights_BT)

    found, weight = count(guess_BT & is_replaced_BT), jnp.sum(weights_BT)
    losses['replaced_loss'] = (jnp.sum(nll_BT * weights_BT), weight)
    return losses, metrics | {
      'replaced_accuracy': (count(guess_BT == is_replaced_BT), weight),
      'replaced_precision': (found, count(guess_BT)),
      'replaced_recall': (found, count(is_replaced_BT)),
    }

  def token_logits(
    self,
    model: nnx.Module,
    input_ids_BT: jax.Array,
    layout: RowLayout,
    places_BM: jax.Array,
  ) -> jax.Array:
    """The generator's scores; the encoder only detects replaced tokens."""
    embeddings = model.encoder.embeddings
    hidden_BTG = model.generator(embeddings, input_ids_BT, layout)
    hidden_BMG = at_masked({'masked_positions': places_BM}, hidden_BTG)
    return model.generator.mlm_head(hidden_BMG, embeddings.token.embedding[...])

  def flops_per_row(self, config: EncoderConfig, row_length: int) -> float:
    generator = electra_generator(config, self.config.generator_width)
    dim = config.embed_dim
    return (
      flops_per_row(generator, row_length, self.mlm.num_predicted(row_length))
      + flops_per_row(config, row_length, 0)
      + dense_flops(row_length, dim, dim + 1)
    )


def _draw(key_data: jax.Array, logits_MV: jax.Array) -> jax.Array:
  """Draws ids int [M] from softmax(logits), without a gradient."""
  # Gumbel noise is added and the highest score taken.
  key = jax.random.wrap_key_data(key_data)
  return jax.random.categorical(key, jax.lax.stop_gradient(logits_MV))
