"""Commands: the intent of a sentence and the slots in it, such as ATIS, SNIPS.

bert-jax finetune --config=experiments/finetune/intents.py \\
    --config.init_from=FOLDER_OR_WORKDIR --config.num_seeds=3 \\
    --config.task.train_path=train.tsv --config.task.eval_path=dev.tsv \\
    --workdir=DIR

A line has a text, the labels of its words divided by spaces (O, B-city), and an
intent. Three files of a line each become such a table:

(printf 'text\\tslots\\tintent\\n'; paste seq.in seq.out label) > train.tsv

Sentences whose intent and slots are all right choose the best epoch. Intents
alone, with some sentences to evaluate on that have none of them (CLINC150):
--config.task.slot_column= --config.task.out_of_scope=oos
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.tasks.intents import IntentsConfig


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=1,
    num_epochs=5,
    batch_size=32,
    max_length=64,
    task=IntentsConfig(train_path='train.tsv'),
    optimizer=AdamWConfig(
      learning_rate=1e-4, schedule=Linear(warmup_share=0.1)
    ),
  )
