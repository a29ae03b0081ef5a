"""Question answering from a context, such as SQuAD 1.1 and 2.0.

bert-jax finetune --config=experiments/finetune/question_answering.py \\
    --config.init_from=PRETRAIN_WORKDIR \\
    --config.task.train_path=train-v2.0.json \\
    --config.task.eval_path=dev-v2.0.json \\
    --config.task.unanswerable=True --workdir=DIR

Leave out `unanswerable` for SQuAD 1.1, whose questions all have an answer. The
F1 of the official script chooses the best epoch.
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.tasks.question_answering import QuestionAnsweringConfig


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=3,
    num_epochs=2,
    batch_size=16,
    max_length=384,
    task=QuestionAnsweringConfig(train_path='train.json', eval_path='dev.json'),
    optimizer=AdamWConfig(
      learning_rate=1e-4, schedule=Linear(warmup_share=0.1)
    ),
  )
