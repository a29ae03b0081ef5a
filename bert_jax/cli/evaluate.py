"""Measure a fine-tuned model on labelled examples.

bert-jax evaluate --workdir=DIR --input=FILE
bert-jax evaluate --workdir=HUGGING_FACE_FOLDER --input=FILE \\
    --text_columns=premise,hypothesis --label_column=label

Prints accuracy, macro F1, Matthews, and the figures of each class. The input is
.tsv, .csv, .tab, .jsonl, .ndjson, .json (each .gz too) or .parquet.
"""

from absl import flags as absl_flags

from bert_jax.cli import column_flags, flags

WORKDIR = absl_flags.DEFINE_string(
  'workdir',
  None,
  'A fine-tuning workdir, or a Hugging Face folder.',
  required=True,
)
INPUT = absl_flags.DEFINE_string(
  'input', None, 'The table of labelled examples.', required=True
)
LABEL_COLUMN = absl_flags.DEFINE_string(
  'label_column', '', 'The labels. Default: that of the fine-tuning run.'
)


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  import numpy as np

  from bert_jax import inference
  from bert_jax.data.labelled import read_examples
  from bert_jax.experiment import FinetuneExperiment
  from bert_jax.tasks import classes
  from bert_jax.tasks.metrics import report_table

  model = inference.load(WORKDIR.value)
  model.require_labels('evaluate')
  task = model.experiment.task
  was_tuned = isinstance(model.experiment, FinetuneExperiment)
  examples = read_examples(
    INPUT.value,
    text_columns=column_flags.text_columns(task.text_columns, was_tuned),
    label_column=LABEL_COLUMN.value or task.label_column,
    header=column_flags.HEADER.value or task.header,
    flags='--',
  )
  for line in examples.notes:
    print(f'warning: {line}')
  names = classes.as_model_names(examples.labels, model.label_names)
  if names:
    examples.labels = names
    print(
      f'labels 0 to {len(model.label_names) - 1} are taken for the outputs of '
      f'the model, {model.label_names[0]} to {model.label_names[-1]}'
    )
  labels = examples.label_ids(model.label_names)
  probabilities = model.predict(examples.texts)
  with np.errstate(divide='ignore'):
    figures = model.objective.score(labels, np.log(probabilities))
  print(report_table(figures))
