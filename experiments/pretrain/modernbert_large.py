"""ModernBERT-large (28 x 1,024), first stage: rows of 1,024 tokens.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=1024 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/modernbert_large.py \\
    --config.data.path=CORPUS --workdir=DIR

Settings of Warner et al. 2024, section 2.2 and appendix A: batches of 4,928
rows, rate 5e-4 after 2 billion tokens of warm-up, 30 % of the tokens masked,
weight decay 1e-5. The paper went back after 900 billion tokens and took 5e-5
for 800 billion more; here one rate leads over all of them. Other differences
are those of modernbert_base.py. It has not been run.
"""

from bert_jax.data.config import DataConfig
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import modernbert_large
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import WarmupStableDecay

TOPOLOGY = 'v6e:2x4'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=modernbert_large(max_positions=1024, rotary_theta=10_000.0),
    num_steps=340_800,
    batch_size=4928,
    num_microbatches=28,
    data=DataConfig(row_length=1024),
    objective=MaskedLMConfig(mask_rate=0.3),
    optimizer=AdamWConfig(
      learning_rate=5e-4,
      schedule=WarmupStableDecay(warmup_steps=400, decay_share=0.03),
      b2=0.98,
      weight_decay=1e-5,
    ),
    remat='attention',
    scan_layers=True,
  )
