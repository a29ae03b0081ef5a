"""RoBERTa-base (12 x 768): long training on full rows, for many devices.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=512 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/roberta_base.py \\
    --config.data.path=CORPUS --workdir=DIR

Batch and optimizer are those of Liu et al. 2019, table 9: 500,000 steps of
8,192 rows, rate 6e-4, 24,000 steps of warm-up, Adam with b2 0.98, no clipping.
If a batch does not fit into memory, raise `num_microbatches`.
"""

from bert_jax.data.config import DataConfig
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import roberta_base
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear

TOPOLOGY = 'v6e:2x4'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=roberta_base(),
    num_steps=500_000,
    batch_size=8192,
    num_microbatches=8,
    data=DataConfig(row_length=512),
    optimizer=AdamWConfig(
      learning_rate=6e-4,
      schedule=Linear(warmup_steps=24_000),
      b2=0.98,
      clip_norm=0.0,
    ),
    remat='attention',
    scan_layers=True,
  )
