"""Classification of texts or pairs of texts, several seeds at once.

bert-jax finetune --config=experiments/finetune/classification.py \\
    --config.init_from=PRETRAIN_WORKDIR --config.num_seeds=5 \\
    --config.task.train_path=train.tsv --config.task.eval_path=dev.tsv \\
    --config.task.text_columns=sentence --config.task.label_column=label \\
    --workdir=DIR

Without a train_path: from which of eight packages is this docstring?
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.models.config import bert_tiny
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=3,
    num_epochs=10,
    batch_size=32,
    max_length=64,
    model=bert_tiny(max_positions=128),
    optimizer=AdamWConfig(
      learning_rate=5e-4, schedule=Linear(warmup_share=0.1)
    ),
  )
