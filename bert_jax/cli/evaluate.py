"""Measure a fine-tuned model on labelled examples.

bert-jax evaluate --workdir=DIR --input=FILE

Prints accuracy, macro F1, Matthews, and the figures of each class.
"""

from absl import flags as absl_flags

from bert_jax.cli import flags

WORKDIR = absl_flags.DEFINE_string(
  'workdir',
  None,
  'A fine-tuning workdir, or a Hugging Face folder.',
  required=True,
)
INPUT = absl_flags.DEFINE_string(
  'input', None, 'Labelled .tsv, .csv or .jsonl (.gz too).', required=True
)


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  import numpy as np

  from bert_jax import inference
  from bert_jax.data.labelled import read_examples
  from bert_jax.data.tokenizers import unknown
  from bert_jax.tasks.metrics import report_table

  model = inference.load(WORKDIR.value)
  model.require_labels('evaluate')
  task = model.experiment.task
  examples = read_examples(
    INPUT.value,
    text_columns=task.text_columns,
    label_column=task.label_column,
  )
  for note in model.tokenizer.notes:
    print(note, flush=True)
  unknown.report(INPUT.value, examples.texts, model.tokenizer)
  labels = examples.label_ids(model.label_names)
  probabilities = model.predict(examples.texts)
  with np.errstate(divide='ignore'):
    figures = model.objective.score(labels, np.log(probabilities))
  print(report_table(figures))
