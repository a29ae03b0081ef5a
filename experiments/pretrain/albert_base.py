"""ALBERT-base (12 x 768, one layer's parameters), rows of 512 tokens.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=512 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/albert_base.py \\
    --config.data.path=CORPUS --workdir=DIR

11 million parameters; a step computes as much as one of BERT-base. Batch and
number of steps as in Lan et al. 2020, section 4.1 (4,096 rows, 125,000 steps,
without dropout as in version 2); masked language modelling alone, AdamW at a
rate of our choice in place of LAMB at 1.76e-3.
"""

from bert_jax.experiment import DataConfig, PretrainExperiment
from bert_jax.models.config import albert_base
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=albert_base(),
    num_steps=125_000,
    batch_size=4096,
    num_microbatches=4,
    data=DataConfig(row_length=512),
    optimizer=AdamWConfig(
      learning_rate=6e-4, schedule=Linear(warmup_steps=3125), b2=0.98
    ),
  )
