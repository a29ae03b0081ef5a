"""BERT-mini (4 x 256) on your own corpus: the published recipe, scaled down.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=128 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/bert_mini.py \\
    --config.data.path=CORPUS --workdir=DIR

The run takes 100,000 steps of 256 rows of 128 tokens, 3.3 billion tokens, and
needs an accelerator; on two CPU cores use bert_tiny_local.py.
"""

from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import bert_mini
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear

TOPOLOGY = 'v5e:1x1'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=bert_mini(),
    num_steps=100_000,
    batch_size=256,
    optimizer=AdamWConfig(
      learning_rate=5e-4, schedule=Linear(warmup_steps=10_000)
    ),
  )
