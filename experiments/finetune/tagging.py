"""Tagging of words, such as the entities of WNUT 17 or CoNLL-2003.

bert-jax finetune --config=experiments/finetune/tagging.py \\
    --config.init_from=PRETRAIN_WORKDIR --config.num_seeds=5 \\
    --config.task.train_path=train.conll --config.task.eval_path=dev.conll \\
    --workdir=DIR

Each line of a file has a word and, in the last column, its label; a blank line
ends a sentence. The F1 of entities, equal to seqeval's, chooses the best epoch;
if labels are not entities, give --config.task.metric=accuracy.

Seen once, on 2 CPU cores shared with much other work, in 14 minutes: 1,500
sentences of WNUT 17 (max_train_examples), tested on its 1,009 of `dev`, 3
seeds, max_length 64, learning rate 5e-4. From small_family.py:modernbert after
1,500 steps on 25,000 film reviews (masked accuracy 0.31): F1 0.200 +- 0.012
(mean and sample standard deviation; 0 in the first epochs), accuracy 0.926 +-
0.001. Calling no word an entity has an accuracy of 0.9205.
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.tasks.tagging import TaggingConfig


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=3,
    num_epochs=5,
    batch_size=32,
    max_length=128,
    task=TaggingConfig(train_path='train.conll'),
    optimizer=AdamWConfig(
      learning_rate=1e-4, schedule=Linear(warmup_share=0.1)
    ),
  )
