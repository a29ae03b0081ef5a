"""The nine tasks of GLUE, each from its own files: --config=glue.py:TASK.

bert-jax finetune --config=experiments/finetune/glue.py:mrpc \\
    --config.init_from=PRETRAIN_WORKDIR --workdir=DIR
bert-jax evaluate --workdir=DIR --input=glue_data/MRPC/dev.tsv

Tasks after the colon: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte or wnli.
Files are train.tsv and dev.tsv of glue_data/CoLA and so on, as GLUE's script
puts them; give --config.task.train_path and --config.task.eval_path for others.
MNLI is chosen on dev_matched.tsv; evaluate --input=glue_data/MNLI/
dev_mismatched.tsv has the other figure. Labels of test parts are kept by GLUE.

Figures are GLUE's: Matthews' correlation for CoLA, accuracy and the F1 of class
1 for MRPC and QQP, Pearson's and Spearman's for STS-B, accuracy for the rest.
The first of them chooses the best epoch, so it is a little too high.

Wang et al. 2018, https://gluebenchmark.com
"""

from typing import Any

from bert_jax.errors import InputError, quoted
from bert_jax.experiment import FinetuneExperiment
from bert_jax.optim.adamw import AdamWConfig
from bert_jax.optim.schedules import Linear
from bert_jax.tasks.classification import ClassificationConfig
from bert_jax.tasks.regression import RegressionConfig

PAIR = ('sentence1', 'sentence2')
# Tasks by name: (folder, columns of texts, column of labels, other fields).
# A quote is an ordinary character in these files.
TASKS: dict[str, tuple[str, tuple[str, ...], str, dict[str, Any]]] = {
  # CoLA has no header.
  'cola': ('CoLA', ('3',), '1', dict(metric='matthews')),
  'sst2': ('SST-2', ('sentence',), 'label', {}),
  'mrpc': (
    *('MRPC', ('#1 String', '#2 String'), 'Quality'),
    dict(metric='f1', positive_class='1'),
  ),
  'stsb': ('STS-B', PAIR, 'score', {}),
  'qqp': (
    *('QQP', ('question1', 'question2'), 'is_duplicate'),
    dict(metric='f1', positive_class='1'),
  ),
  'mnli': (
    *('MNLI', PAIR, 'gold_label'),
    dict(eval_path='glue_data/MNLI/dev_matched.tsv'),
  ),
  'qnli': ('QNLI', ('question', 'sentence'), 'label', {}),
  'rte': ('RTE', PAIR, 'label', {}),
  'wnli': ('WNLI', PAIR, 'label', {}),
}
LARGE = ('sst2', 'qqp', 'mnli', 'qnli')


def get_config(task: str = 'mrpc') -> FinetuneExperiment:
  if task not in TASKS:
    raise InputError(
      f'--config=glue.py:{quoted(task)}: choose one of {", ".join(TASKS)}'
    )
  folder, texts, label, others = TASKS[task]
  fields = {
    'train_path': f'glue_data/{folder}/train.tsv',
    'eval_path': f'glue_data/{folder}/dev.tsv',
    'text_columns': texts,
    'label_column': label,
  }
  kind = RegressionConfig if task == 'stsb' else ClassificationConfig
  return FinetuneExperiment(
    num_seeds=3,
    num_epochs=3 if task in LARGE else 5,
    batch_size=32,
    max_length=128,
    task=kind(**(fields | others)),
    optimizer=AdamWConfig(
      learning_rate=1e-4, schedule=Linear(warmup_share=0.1)
    ),
  )
