"""Classification of texts or pairs of texts, several seeds at once.

bert-jax finetune --config=experiments/finetune/classification.py \\
    --config.init_from=PRETRAIN_WORKDIR --config.num_seeds=5 \\
    --config.task.train_path=train.tsv --config.task.eval_path=dev.tsv \\
    --config.task.text_columns=sentence --config.task.label_column=label \\
    --workdir=DIR

The rate is for encoders of BERT's size. A small one of your own may want ten
times as much: --grid=optimizer.learning_rate=1e-4,3e-4,1e-3 tunes with each.

Without a train_path, the task is to tell from which of eight packages a
docstring comes; which_package.py has settings for it and a small encoder.
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=3,
    num_epochs=5,
    batch_size=32,
    max_length=128,
    optimizer=AdamWConfig(
      learning_rate=1e-4, schedule=Linear(warmup_share=0.1)
    ),
  )
