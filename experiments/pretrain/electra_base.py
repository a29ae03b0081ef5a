"""ELECTRA-base: replaced-token detection on rows of 512 tokens.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=512 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/electra_base.py \\
    --config.data.path=CORPUS --workdir=DIR

Settings of Clark et al. 2020 (table 6): 766,000 steps of 256 rows of 512
tokens, rate 2e-4, a generator of a third of the width, 15 % masked, weight 50.
It has not been run.
"""

from bert_jax.data.config import DataConfig
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import electra_base
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear

TOPOLOGY = 'v5e:2x4'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=electra_base(),
    num_steps=766_000,
    batch_size=256,
    objective=ReplacedTokenConfig(generator_width=1 / 3),
    data=DataConfig(row_length=512),
    optimizer=AdamWConfig(
      learning_rate=2e-4, schedule=Linear(warmup_steps=10_000)
    ),
    remat='dots',
    scan_layers=True,
  )
