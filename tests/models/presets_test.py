"""The presets have as many parameters as the published models."""

import pytest

from bert_jax.errors import InputError
from bert_jax.models import config as presets
from bert_jax.models import functional
from bert_jax.models.heads import (
  MaskedLMHead,
  ReplacedTokenHead,
  model_with_heads,
)

MLM = {'mlm_head': MaskedLMHead}
DISCRIMINATOR = {'replaced_token_head': ReplacedTokenHead}

# What transformers 5.24.0 counts in the encoder and this head, tied parameters
# once, of the published sizes and vocabularies: ...ForMaskedLM, and
# ElectraForPreTraining for ELECTRA's discriminators.
COUNTS = [
  ('bert_base', 30522, MLM, 109_514_298),
  ('bert_large', 30522, MLM, 335_174_458),
  ('roberta_base', 50265, MLM, 124_697_433),
  ('roberta_large', 50265, MLM, 355_412_057),
  ('distilbert_base', 30522, MLM, 66_985_530),
  ('albert_base', 30000, MLM, 11_221_680),
  ('albert_large', 30000, MLM, 16_795_824),
  ('albert_xlarge', 30000, MLM, 54_821_040),
  ('albert_xxlarge', 30000, MLM, 206_368_944),
  ('electra_small', 30522, DISCRIMINATOR, 13_549_057),
  ('electra_base', 30522, DISCRIMINATOR, 109_483_009),
  ('electra_large', 30522, DISCRIMINATOR, 335_142_913),
  ('modernbert_base', 50368, MLM, 149_655_232),
  ('modernbert_large', 50368, MLM, 395_881_664),
]


def count(config: presets.EncoderConfig, heads) -> int:
  model = model_with_heads(config, heads, 'float32')
  return functional.num_parameters(model.abstract_params())


@pytest.mark.parametrize(
  'preset, vocab_size, heads, expected', COUNTS, ids=[row[0] for row in COUNTS]
)
def test_published_sizes(preset, vocab_size, heads, expected):
  config = getattr(presets, preset)(vocab_size=vocab_size)
  config.validate()
  assert count(config, heads) == expected


def test_the_generator_of_electra_base():
  """google/electra-base-generator: 12 x 256 over embeddings of 768."""
  generator = presets.electra_generator(
    presets.electra_base(vocab_size=30522), width_share=1 / 3
  )
  generator.validate()
  assert count(generator, MLM) == 33_740_602


def test_the_generator_of_electra_small_is_a_quarter_wide():
  generator = presets.electra_generator(
    presets.electra_small(), width_share=1 / 4
  )
  sizes = (generator.embed_dim, generator.num_heads, generator.mlp_dim)
  assert sizes == (64, 1, 256)
  assert generator.table_dim == presets.electra_small().table_dim


@pytest.mark.parametrize(
  'overrides, message',
  [
    (dict(norm_placement='both'), 'model.norm_placement is .both'),
    (dict(activation='swish'), 'choose one of gelu, gelu_tanh'),
    (dict(global_every=0), 'model.global_every is 0'),
    (dict(vocab_multiple=0), 'model.vocab_multiple is 0'),
    (dict(embedding_size=-1), 'model.embedding_size is -1'),
    (dict(global_every=3, local_window=7), 'model.local_window is 7'),
    (dict(positions='rotary', num_heads=256), 'model.num_heads=256'),
    (dict(positions='rotary', position_offset=2), 'model.position_offset is 2'),
    (dict(rotary_theta=0.0), 'model.rotary_theta is 0.0'),
    (dict(first_attention_norm=False), "norm_placement='post'"),
    (
      dict(first_attention_norm=False, norm_placement='pre', share_layers=True),
      'model.share_layers',
    ),
  ],
)
def test_what_cannot_be_is_refused(overrides, message):
  with pytest.raises(InputError, match=message) as error:
    presets.bert_mini(**overrides).validate()
  assert '\n' not in str(error.value)
