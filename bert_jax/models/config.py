"""The shape of an encoder, and the published sizes of six families.

A family is only a choice of fields; models/encoder.py has one block for all of
them. Sources: BERT, Devlin et al. 2019 (https://arxiv.org/abs/1810.04805)
and, for the small ones, Turc et al. 2019 (https://arxiv.org/abs/1908.08962);
RoBERTa, Liu et al. 2019 (https://arxiv.org/abs/1907.11692); DistilBERT, Sanh et
al. 2019 (https://arxiv.org/abs/1910.01108); ALBERT, Lan et al. 2020
(https://arxiv.org/abs/1909.11942); ELECTRA, Clark et al. 2020
(https://arxiv.org/abs/2003.10555); ModernBERT, Warner et al. 2024
(https://arxiv.org/abs/2412.13663).
"""

import dataclasses
from typing import Any

from bert_jax.errors import InputError, quoted

CHOICES = {
  'norm_placement': ('post', 'pre'),
  'activation': ('gelu', 'gelu_tanh'),
  'positions': ('learned', 'rotary'),
  'pooler_activation': ('tanh', 'gelu', 'relu'),
}


@dataclasses.dataclass(kw_only=True, slots=True)
class EncoderConfig:
  """Sizes and architecture of an encoder; the defaults are those of BERT.

  Embeddings. vocab_size: entries of the vocabulary; 0 means the tokenizer's.
  vocab_multiple: the table is filled up to a multiple of this number with
  entries that can never be drawn. embedding_size: width of the tables if a
  projection to `embed_dim` follows (ALBERT, ELECTRA); 0 means `embed_dim`.
  num_token_types: 0 for none. positions: 'learned', a table in which the first
  text token has row `position_offset`; or 'rotary', without a table, where
  `max_positions` is only a limit.

  Layers. norm_placement: 'post', after each addition, or 'pre', before each
  block, with one more norm at the end. first_attention_norm: false leaves out
  the first norm of a 'pre' encoder, which would follow the embeddings' own.
  use_bias: biases in dense layers and norms. gated: the feed-forward network
  computes activation(a) * b. share_layers: one layer is applied `num_layers`
  times.

  Attention. Every `global_every`-th layer, starting with the first, sees its
  whole text; the others see `local_window` / 2 tokens to either side and have
  their own theta. The fields `local_*` are unused while `global_every` is 1.

  Pooler. pooler_*: the dense layer before a classifier.
  """

  num_layers: int
  embed_dim: int
  num_heads: int
  mlp_dim: int
  vocab_size: int = 0
  vocab_multiple: int = 1
  embedding_size: int = 0
  max_positions: int = 512
  positions: str = 'learned'
  position_offset: int = 0
  rotary_theta: float = 10_000.0
  local_rotary_theta: float = 10_000.0
  num_token_types: int = 2
  norm_placement: str = 'post'
  first_attention_norm: bool = True
  use_bias: bool = True
  activation: str = 'gelu'
  gated: bool = False
  share_layers: bool = False
  global_every: int = 1
  local_window: int = 128
  pooler_activation: str = 'tanh'
  pooler_norm: bool = False
  dropout: float = 0.1
  attention_dropout: float = 0.1
  initializer_stddev: float = 0.02
  norm_epsilon: float = 1e-12

  @property
  def head_dim(self) -> int:
    return self.embed_dim // self.num_heads

  @property
  def table_dim(self) -> int:
    """Width of the embedding tables."""
    return self.embedding_size or self.embed_dim

  @property
  def table_size(self) -> int:
    """Entries of the token table, including those that fill it up."""
    return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

  @property
  def output_stddev(self) -> float:
    """Initial standard deviation of the projections that end a block.

    A 'pre' encoder never normalises the sum of its blocks along the way, so
    each of the 2 x num_layers terms starts small: Radford et al. 2019, section
    2.3, and ModernBERT.
    """
    if self.norm_placement == 'post':
      return self.initializer_stddev
    return self.initializer_stddev * (2 * self.num_layers) ** -0.5

  def is_global(self, layer: int) -> bool:
    """True if a layer, counted from 0, sees its whole text."""
    return layer % self.global_every == 0

  def validate(self) -> None:
    """Raises InputError on sizes that no encoder can have."""
    for name in (
      'num_layers',
      'embed_dim',
      'num_heads',
      'mlp_dim',
      'vocab_multiple',
      'max_positions',
      'global_every',
    ):
      if getattr(self, name) < 1:
        raise InputError(
          f'model.{name} is {getattr(self, name)}; it must be 1 or more'
        )
    for name in ('embedding_size', 'num_token_types', 'position_offset'):
      if getattr(self, name) < 0:
        raise InputError(
          f'model.{name} is {getattr(self, name)}; it must be 0 or more'
        )
    for name, choices in CHOICES.items():
      if getattr(self, name) not in choices:
        raise InputError(
          f'model.{name} is {quoted(getattr(self, name))}; '
          f'choose one of {", ".join(choices)}'
        )
    if self.embed_dim % self.num_heads:
      raise InputError(
        f'model.num_heads={self.num_heads} does not divide '
        f'model.embed_dim={self.embed_dim}; choose a divisor'
      )
    for name in ('dropout', 'attention_dropout'):
      if not 0 <= getattr(self, name) < 1:
        raise InputError(
          f'model.{name} is {getattr(self, name)}; it must be in [0, 1)'
        )
    self._validate_attention()

  def _validate_attention(self) -> None:
    if self.global_every > 1 and (
      self.local_window < 2 or self.local_window % 2
    ):
      raise InputError(
        f'model.local_window is {self.local_window}; it must be an even number '
        'from 2 on, half of it to either side'
      )
    if self.positions == 'rotary' and self.head_dim % 2:
      raise InputError(
        f'model.num_heads={self.num_heads} makes heads of '
        f"{self.head_dim}; with model.positions='rotary' it must be even"
      )
    if self.positions == 'rotary' and self.position_offset:
      raise InputError(
        f'model.position_offset is {self.position_offset}; with '
        "model.positions='rotary' there is no table, set it to 0"
      )
    for name in ('rotary_theta', 'local_rotary_theta'):
      if getattr(self, name) <= 0:
        raise InputError(
          f'model.{name} is {getattr(self, name)}; it must be above 0'
        )
    if self.share_layers and not self.first_attention_norm:
      raise InputError(
        'model.first_attention_norm is false; with model.share_layers the '
        'first layer is every layer, set one of them otherwise'
      )
    if self.norm_placement == 'post' and not self.first_attention_norm:
      raise InputError(
        "model.first_attention_norm is false; with model.norm_placement='post' "
        'set it to true'
      )


def bert_tiny(**overrides) -> EncoderConfig:
  return _encoder(2, 128, overrides)


def bert_mini(**overrides) -> EncoderConfig:
  return _encoder(4, 256, overrides)


def bert_small(**overrides) -> EncoderConfig:
  return _encoder(4, 512, overrides)


def bert_medium(**overrides) -> EncoderConfig:
  return _encoder(8, 512, overrides)


def bert_base(**overrides) -> EncoderConfig:
  return _encoder(12, 768, overrides)


def bert_large(**overrides) -> EncoderConfig:
  return _encoder(24, 1024, overrides)


# A single token type adds a constant: RoBERTa has one in transformers and none
# in fairseq. With it, checkpoints of transformers convert completely.
_ROBERTA = dict(position_offset=2, num_token_types=1, norm_epsilon=1e-5)


def roberta_base(**overrides) -> EncoderConfig:
  return _encoder(12, 768, _ROBERTA | overrides)


def roberta_large(**overrides) -> EncoderConfig:
  return _encoder(24, 1024, _ROBERTA | overrides)


def distilbert_base(**overrides) -> EncoderConfig:
  fields = dict(num_token_types=0, pooler_activation='relu')
  return _encoder(6, 768, fields | overrides)


# Version 2 of the published models has no dropout. (Version 1 has 'gelu'.)
_ALBERT = dict(
  embedding_size=128,
  share_layers=True,
  activation='gelu_tanh',
  dropout=0.0,
  attention_dropout=0.0,
)


def albert_base(**overrides) -> EncoderConfig:
  return _encoder(12, 768, _ALBERT | overrides)


def albert_large(**overrides) -> EncoderConfig:
  return _encoder(24, 1024, _ALBERT | overrides)


def albert_xlarge(**overrides) -> EncoderConfig:
  return _encoder(24, 2048, _ALBERT | dict(num_heads=16) | overrides)


def albert_xxlarge(**overrides) -> EncoderConfig:
  return _encoder(12, 4096, _ALBERT | overrides)


_ELECTRA = dict(pooler_activation='gelu')


def electra_mini(**overrides) -> EncoderConfig:
  """Unpublished ELECTRA of BERT-mini's size, for tests and first trials."""
  return _encoder(4, 256, _ELECTRA | dict(embedding_size=128) | overrides)


def electra_small(**overrides) -> EncoderConfig:
  return _encoder(12, 256, _ELECTRA | dict(embedding_size=128) | overrides)


def electra_base(**overrides) -> EncoderConfig:
  return _encoder(12, 768, _ELECTRA | overrides)


def electra_large(**overrides) -> EncoderConfig:
  return _encoder(24, 1024, _ELECTRA | overrides)


def electra_generator(
  discriminator: EncoderConfig, width_share: float, **overrides
) -> EncoderConfig:
  """A narrower encoder of the same depth over embeddings of the same size.

  Embeddings of equal size let both share one table (section 3.2 of the paper).
  Published values of `width_share`: 1/4 for small and large, 1/3 for base.
  """
  # Rounding to an even width lets heads of an even size divide it.
  embed_dim = 2 * max(1, round(discriminator.embed_dim * width_share / 2))
  num_heads = max(1, embed_dim // 64)
  while embed_dim % (2 * num_heads):
    num_heads -= 1
  sizes: dict[str, Any] = dict(
    embed_dim=embed_dim,
    num_heads=num_heads,
    mlp_dim=4 * embed_dim,
    embedding_size=discriminator.table_dim,
  )
  return dataclasses.replace(discriminator, **(sizes | overrides))


# Fields of the paper's second stage, with rows of 8,192 tokens and the larger
# global theta; the first has max_positions=1024 and rotary_theta=10_000.
# (Pretraining there drops a tenth of attention's output and nothing else; the
# field `dropout` would apply to every block.)
_MODERNBERT = dict(
  vocab_multiple=64,
  max_positions=8192,
  positions='rotary',
  rotary_theta=160_000.0,
  num_token_types=0,
  norm_placement='pre',
  first_attention_norm=False,
  use_bias=False,
  gated=True,
  global_every=3,
  local_window=128,
  pooler_activation='gelu',
  pooler_norm=True,
  dropout=0.0,
  attention_dropout=0.0,
  norm_epsilon=1e-5,
)


def modernbert_mini(**overrides) -> EncoderConfig:
  """Unpublished ModernBERT of BERT-mini's width, for tests and first trials."""
  return _encoder(6, 256, _MODERNBERT | dict(mlp_dim=384) | overrides)


def modernbert_base(**overrides) -> EncoderConfig:
  return _encoder(22, 768, _MODERNBERT | dict(mlp_dim=1152) | overrides)


def modernbert_large(**overrides) -> EncoderConfig:
  return _encoder(28, 1024, _MODERNBERT | dict(mlp_dim=2624) | overrides)


def _encoder(num_layers: int, embed_dim: int, fields: dict) -> EncoderConfig:
  # By default a head is 64 wide and the feed-forward network four times as wide
  # as the layer.
  sizes: dict[str, Any] = dict(
    num_layers=num_layers,
    embed_dim=embed_dim,
    num_heads=embed_dim // 64,
    mlp_dim=4 * embed_dim,
  )
  return EncoderConfig(**(sizes | fields))
