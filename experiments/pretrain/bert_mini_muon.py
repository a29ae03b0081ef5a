"""BERT-mini (4 x 256) with Muon for the matrices of its layers.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=128 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/bert_mini_muon.py \\
    --config.data.path=CORPUS --workdir=DIR

All else equals bert_mini.py, learning rates included: an update of Muon is
scaled to the root mean square of AdamW's (Liu et al. 2025). It has not been run
at this size; a comparison with AdamW should tune both.
"""

from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import bert_mini
from bert_jax.optim.muon import MuonConfig
from bert_jax.optim.schedules import Linear

TOPOLOGY = 'v5e:1x1'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=bert_mini(),
    num_steps=100_000,
    batch_size=256,
    optimizer=MuonConfig(
      learning_rate=5e-4, schedule=Linear(warmup_steps=10_000)
    ),
  )
