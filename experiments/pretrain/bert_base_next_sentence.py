"""BERT-base as published: masked LM and next-sentence prediction on pairs.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=128,512 \\
    --pairs=next_sentence --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/bert_base_next_sentence.py \\
    --config.data.path=CORPUS --workdir=DIR

Settings of Devlin et al. 2019 (3.1 and A.2): the sum of both losses, 90 % of
the steps on rows of 128. The learning curve shows held-out masked accuracy and
next-sentence accuracy. It has not been run at this size; the paper gives 97 to
98 % next-sentence accuracy at the end.
"""

from bert_jax.data.config import DataConfig
from bert_jax.data.reading.plan import Stage
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import bert_base
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.sentence_pairs import SentencePairsConfig
from bert_jax.objectives.weighted_sum import WeightedSumConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear

TOPOLOGY = 'v5e:2x4'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=bert_base(),
    num_steps=1_000_000,
    batch_size=256,
    objective=WeightedSumConfig(
      objectives=(MaskedLMConfig(), SentencePairsConfig(kind='next_sentence'))
    ),
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
