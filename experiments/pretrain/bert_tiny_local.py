"""BERT-tiny (2 x 128) in a few minutes on two CPU cores: launch/local.sh.

bert-jax pretrain --config=experiments/pretrain/bert_tiny_local.py \\
    --config.data.path=CORPUS --workdir=DIR

The vocabulary is small, rows are short, and there is no dropout: so short a run
never comes near over-fitting, and every second counts.
"""

from bert_jax.data.config import DataConfig
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import bert_tiny
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.train.checkpoint_config import CheckpointConfig
from bert_jax.train.evaluation import EvaluationConfig
from bert_jax.train.logging import LoggingConfig

TOPOLOGY = 'v5e:1x1'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=bert_tiny(max_positions=128, dropout=0.0, attention_dropout=0.0),
    num_steps=2300,
    batch_size=32,
    data=DataConfig(row_length=64),
    optimizer=AdamWConfig(
      learning_rate=2e-3, schedule=Linear(warmup_share=0.1), b2=0.98
    ),
    evaluation=EvaluationConfig(every_steps=230, max_rows=512),
    checkpoint=CheckpointConfig(every_steps=230, keep_last=2),
    logging=LoggingConfig(every_steps=46),
  )
