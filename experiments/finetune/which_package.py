"""Classification of docstrings by package: 8 classes, 20 examples of each.

bert-jax finetune --config=experiments/finetune/which_package.py \\
    --config.init_from=PRETRAIN_WORKDIR --workdir=DIR
bert-jax finetune --config=experiments/finetune/which_package.py \\
    --config.tokenizer=TOKENIZER --workdir=DIR          # from scratch

launch/local.sh runs this task, for BERT-tiny. The names of the packages are
masked in the texts, and no module has examples in both training and evaluation.

Accuracy over 3 seeds, mean and sample standard deviation, on 2 CPU cores, after
2,300 steps of pretrain/bert_tiny_local.py: pretrained 0.392 +- 0.019, from
scratch 0.318 +- 0.015 (one run of launch/local.sh), and from scratch 0.315 +-
0.016 with --config.num_epochs=48.
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.models.config import bert_tiny
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.tasks.classification import ClassificationConfig


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=3,
    num_epochs=24,
    eval_every_epochs=8,
    batch_size=16,
    max_length=48,
    task=ClassificationConfig(max_train_examples=160),
    model=bert_tiny(max_positions=128),
    optimizer=AdamWConfig(
      learning_rate=1e-3, schedule=Linear(warmup_share=0.1)
    ),
  )
