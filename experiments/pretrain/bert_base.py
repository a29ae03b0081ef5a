"""BERT-base (12 x 768), rows of 512 tokens, for a TPU or GPU host.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=512 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/bert_base.py \\
    --config.data.path=CORPUS --workdir=DIR

Batch and learning rate are those of Devlin et al. 2019: 1,000,000 steps of 256
rows, rate 1e-4, 10,000 steps of warm-up; but all rows have the full length.
"""

from bert_jax.data.config import DataConfig
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import bert_base
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear

TOPOLOGY = 'v5e:2x4'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=bert_base(),
    num_steps=1_000_000,
    batch_size=256,
    data=DataConfig(row_length=512),
    optimizer=AdamWConfig(
      learning_rate=1e-4, schedule=Linear(warmup_steps=10_000)
    ),
  )
