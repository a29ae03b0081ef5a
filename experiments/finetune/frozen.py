"""Classification above frozen layers: the lowest ones stay as they are.

bert-jax finetune --config=experiments/finetune/frozen.py \\
    --config.init_from=PRETRAIN_WORKDIR --config.num_seeds=5 \\
    --config.peft.num_layers=2 \\
    --config.task.train_path=train.tsv --config.task.eval_path=dev.tsv \\
    --config.task.text_columns=sentence --config.task.label_column=label \\
    --workdir=DIR

Without peft.num_layers the embeddings alone are frozen. As many as the model
has are linear probing: the pooler and the classifier are trained. A checkpoint
holds what is trained, and all seeds share the rest in memory. `evaluate`,
`predict` and `convert` read it from init_from, and refuse it if it has changed.
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.peft.frozen import FrozenLayersConfig


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=3,
    num_epochs=10,
    batch_size=32,
    max_length=128,
    peft=FrozenLayersConfig(num_layers=0, embeddings=True),
  )
