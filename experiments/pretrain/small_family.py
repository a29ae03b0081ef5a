"""One encoder of each family at the same small size: 4 layers, width 128.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=64 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/small_family.py:electra \\
    --config.data.path=CORPUS --workdir=DIR

Families after the colon: bert, roberta, albert (its corpus needs
--pairs=sentence_order), electra or modernbert. All share the batch, the
optimizer and the share of masked tokens; they differ in the encoder, its
objective and the learning rate. experiments/benchmarks/families.py compares
them and has their figures.
"""

from collections.abc import Callable
from typing import Any

from bert_jax.data.config import DataConfig
from bert_jax.errors import InputError, quoted
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import (
  albert_base,
  bert_tiny,
  electra_mini,
  modernbert_mini,
  roberta_base,
)
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.objectives.sentence_pairs import SentencePairsConfig
from bert_jax.objectives.weighted_sum import WeightedSumConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.train.checkpoint_config import CheckpointConfig
from bert_jax.train.evaluation import EvaluationConfig
from bert_jax.train.logging import LoggingConfig

TOPOLOGY = 'v5e:1x1'


def _albert_objective() -> WeightedSumConfig:
  return WeightedSumConfig(
    objectives=(
      MaskedLMConfig(
        selection='span', span_end_probability=0.45, max_span_words=3
      ),
      SentencePairsConfig(kind='sentence_order'),
    )
  )


def _electra_objective() -> ReplacedTokenConfig:
  # Half, because a quarter of 128 would be a single head of 32.
  return ReplacedTokenConfig(generator_width=0.5)


# Families by name: (preset, own sizes, objective, learning rate). ModernBERT is
# gated, so its three matrices have two thirds of the size.
FAMILIES: dict[str, tuple[Callable, dict, Callable[[], Any], float]] = {
  'bert': (bert_tiny, {}, MaskedLMConfig, 2e-3),
  'roberta': (roberta_base, {}, MaskedLMConfig, 2e-3),
  'albert': (albert_base, dict(embedding_size=64), _albert_objective, 2e-3),
  'electra': (electra_mini, {}, _electra_objective, 1e-3),
  'modernbert': (modernbert_mini, dict(mlp_dim=336), MaskedLMConfig, 2e-3),
}


def get_config(family: str = 'bert') -> PretrainExperiment:
  if family not in FAMILIES:
    raise InputError(
      f'--config=small_family.py:{quoted(family)}: choose one of '
      f'{", ".join(FAMILIES)}'
    )
  preset, own_sizes, objective, learning_rate = FAMILIES[family]
  sizes = dict(num_layers=4, embed_dim=128, num_heads=2, mlp_dim=512)
  no_dropout = dict(dropout=0.0, attention_dropout=0.0)
  return PretrainExperiment(
    model=preset(max_positions=128, **(sizes | own_sizes | no_dropout)),
    num_steps=2500,
    batch_size=32,
    objective=objective(),
    data=DataConfig(row_length=64),
    optimizer=AdamWConfig(
      learning_rate=learning_rate,
      schedule=Linear(warmup_share=0.1),
      b2=0.98,
    ),
    evaluation=EvaluationConfig(every_steps=500, max_rows=512),
    checkpoint=CheckpointConfig(every_steps=500, keep_last=2),
    logging=LoggingConfig(every_steps=50),
  )
