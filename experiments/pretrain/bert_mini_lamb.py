"""BERT-mini (4 x 256) in large batches with LAMB.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=128 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/bert_mini_lamb.py \\
    --config.data.path=CORPUS --workdir=DIR

The run takes as many rows as bert_mini.py in a sixteenth of its steps. Learning
rate and share of warm-up are those of ALBERT (Lan et al. 2020) for batches of
4,096 rows. It has not been run at this size.
"""

from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import bert_mini
from bert_jax.optim.lamb import LambConfig
from bert_jax.optim.schedules import Linear

TOPOLOGY = 'v5e:2x4'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=bert_mini(),
    num_steps=6250,
    batch_size=4096,
    optimizer=LambConfig(
      learning_rate=1.76e-3, schedule=Linear(warmup_share=0.025)
    ),
  )
