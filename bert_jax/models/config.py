"""The shape of an encoder, and the published sizes of BERT.

Sources: Devlin et al. 2019 (https://arxiv.org/abs/1810.04805) for base and
large; Turc et al. 2019 (https://arxiv.org/abs/1908.08962) for the small ones.
"""

import dataclasses

from bert_jax.errors import InputError


@dataclasses.dataclass(kw_only=True, slots=True)
class EncoderConfig:
  """Sizes of a BERT encoder; `vocab_size` 0 means: that of the tokenizer."""

  num_layers: int
  embed_dim: int
  num_heads: int
  mlp_dim: int
  vocab_size: int = 0
  max_positions: int = 512
  num_token_types: int = 2
  dropout: float = 0.1
  attention_dropout: float = 0.1
  initializer_stddev: float = 0.02
  norm_epsilon: float = 1e-12

  @property
  def head_dim(self) -> int:
    return self.embed_dim // self.num_heads

  def validate(self) -> None:
    """Raises InputError on sizes that no encoder can have."""
    for name in ('num_layers', 'embed_dim', 'num_heads', 'mlp_dim'):
      if getattr(self, name) < 1:
        raise InputError(
          f'model.{name} is {getattr(self, name)}; it must be 1 or more'
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


def bert_tiny(**overrides) -> EncoderConfig:
  return _bert(2, 128, **overrides)


def bert_mini(**overrides) -> EncoderConfig:
  return _bert(4, 256, **overrides)


def bert_small(**overrides) -> EncoderConfig:
  return _bert(4, 512, **overrides)


def bert_medium(**overrides) -> EncoderConfig:
  return _bert(8, 512, **overrides)


def bert_base(**overrides) -> EncoderConfig:
  return _bert(12, 768, **overrides)


def bert_large(**overrides) -> EncoderConfig:
  return _bert(24, 1024, **overrides)


def _bert(num_layers: int, embed_dim: int, **overrides) -> EncoderConfig:
  # In all six sizes a head is 64 wide and the feed-forward four times as wide.
  sizes = dict(
    num_layers=num_layers,
    embed_dim=embed_dim,
    num_heads=embed_dim // 64,
    mlp_dim=4 * embed_dim,
  )
  return EncoderConfig(**(sizes | overrides))
