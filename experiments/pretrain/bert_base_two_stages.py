"""BERT-base as published: 90 % of the steps on rows of 128, the rest of 512.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=128,512 \\
    --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/bert_base_two_stages.py \\
    --config.data.path=CORPUS --workdir=DIR

The stages are those of Devlin et al. 2019 (A.2), with one learning-rate
schedule over both. Each stage is compiled once; a run can resume in either.
"""

from bert_jax.data.config import DataConfig
from bert_jax.data.reading.plan import Stage
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
    data=DataConfig(
      row_length=128,
      stages=(
        Stage(num_steps=900_000),
        Stage(num_steps=100_000, row_length=512),
      ),
    ),
    optimizer=AdamWConfig(
      learning_rate=1e-4, schedule=Linear(warmup_steps=10_000)
    ),
  )
