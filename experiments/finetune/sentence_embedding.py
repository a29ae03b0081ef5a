"""Sentence embeddings: vectors whose cosines say how alike texts are.

bert-jax finetune --config=experiments/finetune/sentence_embedding.py \\
    --config.init_from=FOLDER_OR_WORKDIR \\
    --config.task.train_path=train.tsv --config.task.eval_path=dev.tsv \\
    --config.task.text_columns=anchor,positive --workdir=DIR

Each anchor is to find its positive among those of its batch, so more rows of a
batch make it harder; --config.gradients.num_parts=8 encodes it in 8 parts, with
the same gradient and an eighth of the memory. Columns after the second hold
hard negatives. nDCG@10 on the evaluation part chooses the best epoch.

Pairs with scores, such as STS-B and SICK, are learned by their order:

bert-jax finetune --config=experiments/finetune/sentence_embedding.py \\
    --config.init_from=FOLDER_OR_WORKDIR \\
    --config.task.train_path=train.tsv --config.task.eval_path=dev.tsv \\
    --config.task.loss=cosent --config.task.text_columns=sentence1,sentence2 \\
    --config.task.label_column=score --config.task.score_range=0,5 \\
    --workdir=DIR

Seen once, on 2 CPU cores shared with much other work, in 14 minutes: all-
MiniLM-L6-v2 by `cosent` on 2,000 pairs of SICK's training part (scores 1 to 5),
tested on 1,000 others of it; one seed, 2 epochs, batch 32, max_length 40.
Spearman's correlation 0.821 after 2 epochs, 0.810 after one, 0.786 before;
Pearson's 0.871, 0.866 and 0.849.
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.tasks.sentence_embedding import SentenceEmbeddingConfig
from bert_jax.train.cached_gradients import CachedConfig


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=1,
    num_epochs=2,
    batch_size=64,
    max_length=64,
    task=SentenceEmbeddingConfig(train_path='train.tsv', eval_path='dev.tsv'),
    gradients=CachedConfig(num_parts=1),
    optimizer=AdamWConfig(
      learning_rate=5e-5, schedule=Linear(warmup_share=0.1)
    ),
  )
