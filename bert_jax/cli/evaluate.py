"""Measure a fine-tuned model on labelled examples.

bert-jax evaluate --workdir=DIR --input=FILE
bert-jax evaluate --workdir=HUGGING_FACE_FOLDER --input=FILE \\
    --text_columns=premise,hypothesis --label_column=label

Prints accuracy, macro F1, Matthews, and the figures of each class. The input is
.tsv, .csv, .tab, .jsonl, .ndjson, .json (each .gz too) or .parquet.
"""

from absl import flags as absl_flags

from bert_jax.cli import flags
from bert_jax.cli.column_flags import define_columns

WORKDIR = absl_flags.DEFINE_string(
  'workdir',
  None,
  'A fine-tuning workdir, or a Hugging Face folder.',
  required=True,
)
INPUT = absl_flags.DEFINE_string(
  'input', None, 'The table of labelled examples.', required=True
)
COLUMNS = define_columns(with_label=True)


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  import numpy as np

  from bert_jax import inference
  from bert_jax.data.labelled import read_examples
  from bert_jax.tasks import classes
  from bert_jax.tasks.metrics import report_table

  model = inference.load(WORKDIR.value)
  model.require_labels('evaluate')
  examples = read_examples(INPUT.value, **COLUMNS(model))
  for line in examples.notes:
    print(line)
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
