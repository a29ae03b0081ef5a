"""ELECTRA-small: replaced-token detection, for one accelerator.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=128 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/electra_small.py \\
    --config.data.path=CORPUS --workdir=DIR

Settings of Clark et al. 2020 (table 6): 1,000,000 steps of 128 rows of 128
tokens, rate 5e-4, a generator of a quarter of the width, 15 % masked, weight
50. Held-out perplexity and masked accuracy describe the generator; replaced
precision and recall describe the encoder. It has not been run at this size.
"""

from bert_jax.data.config import DataConfig
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import electra_small
from bert_jax.objectives.replaced_token import ReplacedTokenConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear

TOPOLOGY = 'v5e:1x1'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=electra_small(),
    num_steps=1_000_000,
    batch_size=128,
    objective=ReplacedTokenConfig(generator_width=0.25),
    data=DataConfig(row_length=128),
    optimizer=AdamWConfig(
      learning_rate=5e-4, schedule=Linear(warmup_steps=10_000)
    ),
  )
