"""ALBERT-base: masked n-grams and sentence order, with shared layers.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=512 \\
    --pairs=sentence_order --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/albert_base.py \\
    --config.data.path=CORPUS --workdir=DIR

Settings of Lan et al. 2020: up to three words a span, 125,000 steps of 4096
rows. Two settings differ: the chances of spans of 1, 2 and 3 words are 0.54,
0.30 and 0.16, in the paper 0.55, 0.27 and 0.18; and the optimizer is AdamW with
a lower rate, in the paper LAMB with 1.76e-3. It has not been run at this size.
"""

from bert_jax.data.config import DataConfig
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import albert_base
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.objectives.sentence_pairs import SentencePairsConfig
from bert_jax.objectives.weighted_sum import WeightedSumConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear

TOPOLOGY = 'v5e:2x4'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=albert_base(),
    num_steps=125_000,
    batch_size=4096,
    num_microbatches=16,
    objective=WeightedSumConfig(
      objectives=(
        MaskedLMConfig(
          selection='span', span_end_probability=0.45, max_span_words=3
        ),
        SentencePairsConfig(kind='sentence_order'),
      )
    ),
    data=DataConfig(row_length=512),
    optimizer=AdamWConfig(
      learning_rate=6e-4, schedule=Linear(warmup_steps=3125), b2=0.98
    ),
    remat='dots',
    scan_layers=True,
  )
