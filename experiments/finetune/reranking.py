"""Reranking: scores of documents, each read together with its query.

bert-jax finetune --config=experiments/finetune/reranking.py \\
    --config.init_from=FOLDER_OR_WORKDIR \\
    --config.task.train_path=train.tsv --config.task.eval_path=dev.tsv \\
    --workdir=DIR

Each record has a `query`, a `document` and a `label`, 1 if it is right and 0 if
not. nDCG@10 on the evaluation part chooses the best epoch: records with equal
queries are the documents that are ranked.

A file that has a query, its positive and negatives in columns is learned by

    --config.task.loss=listwise \\
    --config.task.train_columns=query,positive,negative_1,negative_2

or by --config.task.loss=margin. A step then reads batch_size x (columns - 1)
pairs. max_length is that of a query and one document together.
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.tasks.reranking import RerankingConfig


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=1,
    num_epochs=2,
    batch_size=32,
    max_length=256,
    task=RerankingConfig(train_path='train.tsv'),
    optimizer=AdamWConfig(
      learning_rate=5e-5, schedule=Linear(warmup_share=0.1)
    ),
  )
