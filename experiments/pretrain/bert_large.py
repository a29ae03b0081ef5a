"""BERT-large (24 x 1,024), rows of 512 tokens, for eight chips or more.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=512 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/bert_large.py \\
    --config.data.path=CORPUS --workdir=DIR

Batch and learning rate are those of Devlin et al. 2019, equal to BERT-base's:
1,000,000 steps of 256 rows, rate 1e-4, 10,000 steps of warm-up; but all rows
have the full length. It has not been run.
"""

from bert_jax.data.config import DataConfig
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import bert_large
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear

TOPOLOGY = 'v5e:2x4'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=bert_large(),
    num_steps=1_000_000,
    batch_size=256,
    num_microbatches=2,
    data=DataConfig(row_length=512),
    optimizer=AdamWConfig(
      learning_rate=1e-4, schedule=Linear(warmup_steps=10_000)
    ),
    remat='dots',
    scan_layers=True,
  )
