"""Regression on texts or pairs, such as the similarity of two sentences.

bert-jax finetune --config=experiments/finetune/regression.py \\
    --config.init_from=PRETRAIN_WORKDIR --config.num_seeds=5 \\
    --config.task.train_path=train.tsv --config.task.eval_path=dev.tsv \\
    --config.task.text_columns=sentence1,sentence2 \\
    --config.task.label_column=score --workdir=DIR

The column names are those of STS-B in GLUE. Pearson's and Spearman's
correlation are reported; Pearson's chooses the best epoch.

Seen once, on 2 CPU cores shared with much other work, in 11 minutes: 1,500
pairs of STS-B's training part, tested on 1,000 others of it drawn at random, 3
seeds and epochs, max_length 64, learning rate 5e-4, pooling=mean. From
small_family.py:modernbert after 1,500 steps on 25,000 film reviews: Pearson
0.229 +- 0.020, Spearman 0.209 +- 0.014 (mean and sample standard deviation).
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.tasks.regression import RegressionConfig


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=3,
    num_epochs=5,
    batch_size=32,
    max_length=128,
    task=RegressionConfig(
      train_path='train.tsv',
      text_columns=('sentence1', 'sentence2'),
      label_column='score',
    ),
    optimizer=AdamWConfig(
      learning_rate=1e-4, schedule=Linear(warmup_share=0.1)
    ),
  )
