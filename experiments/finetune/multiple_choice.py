"""Multiple choice: the text that goes with a context, such as SWAG or RACE.

bert-jax finetune --config=experiments/finetune/multiple_choice.py \\
    --config.init_from=PRETRAIN_WORKDIR --config.num_seeds=5 \\
    --config.task.train_path=train.jsonl --config.task.eval_path=dev.jsonl \\
    --workdir=DIR

Each record has a `context`, a list of `choices`, of any number, and a `label`,
the number of the right one from 0. SWAG's own train.csv and val.csv, whose
first column has no name, are read with

    --config.task.text_columns=sent1,sent2 --config.task.header=yes \\
    --config.task.choice_columns=ending0,ending1,ending2,ending3

Of two text columns the second begins every choice; for a question about a
passage, give --config.task.text_columns=passage,question.

max_length is that of one choice with its context: a batch has as many texts as
its examples have choices.
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.tasks.multiple_choice import MultipleChoiceConfig


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=3,
    num_epochs=3,
    batch_size=16,
    max_length=128,
    task=MultipleChoiceConfig(train_path='train.jsonl'),
    optimizer=AdamWConfig(
      learning_rate=1e-4, schedule=Linear(warmup_share=0.1)
    ),
  )
