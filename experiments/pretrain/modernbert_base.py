"""ModernBERT-base (22 x 768), first stage: rows of 1,024 tokens.

bert-jax prepare --input=TEXT --tokenizer=DIR --row_length=1024 --output=CORPUS
bert-jax pretrain --config=experiments/pretrain/modernbert_base.py \\
    --config.data.path=CORPUS --workdir=DIR

Settings of Warner et al. 2024, appendix A: 1.72 trillion tokens in batches of
4,608 rows, rate 8e-4 after 3 billion tokens of warm-up, 30 % of the tokens
masked, weight decay 1e-5. Differences: AdamW instead of StableAdamW; no ramp of
the batch size; no dropout (in the paper 0.1 on the output of attention); and
the decay over the last 50 billion tokens belongs to this run. For the second
stage, on rows of 8,192 tokens, grow the model and start another run from it:

bert-jax grow --input=DIR --output=LONG --max_positions=8192 \\
    --rotary_theta=160000
bert-jax pretrain --config=experiments/pretrain/modernbert_base.py \\
    --config.init_from=LONG --config.model.max_positions=8192 \\
    --config.model.rotary_theta=160000 ...
"""

from bert_jax.data.config import DataConfig
from bert_jax.experiment import PretrainExperiment
from bert_jax.models.config import modernbert_base
from bert_jax.objectives.mlm import MaskedLMConfig
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import WarmupStableDecay

TOPOLOGY = 'v6e:2x4'


def get_config() -> PretrainExperiment:
  return PretrainExperiment(
    model=modernbert_base(max_positions=1024, rotary_theta=10_000.0),
    num_steps=364_500,
    batch_size=4608,
    num_microbatches=16,
    data=DataConfig(row_length=1024),
    objective=MaskedLMConfig(mask_rate=0.3),
    optimizer=AdamWConfig(
      learning_rate=8e-4,
      schedule=WarmupStableDecay(warmup_steps=640, decay_share=0.03),
      b2=0.98,
      weight_decay=1e-5,
    ),
    remat='attention',
    scan_layers=True,
  )
