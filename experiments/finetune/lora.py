"""Classification with LoRA: the encoder is frozen, corrections are tuned.

bert-jax finetune --config=experiments/finetune/lora.py \\
    --config.init_from=PRETRAIN_WORKDIR --config.num_seeds=5 \\
    --config.task.train_path=train.tsv --config.task.eval_path=dev.tsv \\
    --config.task.text_columns=sentence --config.task.label_column=label \\
    --workdir=DIR

A checkpoint holds the corrections and the heads; all seeds share the encoder in
memory. `evaluate`, `predict` and `convert` read the encoder from init_from and
refuse it if it has changed. To tune more matrices, add
--config.peft.targets=all_linear --config.peft.rank=16.
"""

from bert_jax.experiment import FinetuneExperiment
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.peft.lora import LoRAConfig


def get_config() -> FinetuneExperiment:
  return FinetuneExperiment(
    num_seeds=3,
    num_epochs=10,
    batch_size=32,
    max_length=128,
    peft=LoRAConfig(rank=8, alpha=16.0, dropout=0.1),
    optimizer=AdamWConfig(
      learning_rate=5e-4, schedule=Linear(warmup_share=0.1)
    ),
  )
