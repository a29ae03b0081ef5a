"""Measure a fine-tuned model on examples with answers.

bert-jax evaluate --workdir=DIR --input=FILE
bert-jax evaluate --workdir=HUGGING_FACE_FOLDER --input=FILE \\
    --text_columns=premise,hypothesis --label_column=label

Prints the figures of the model's task: for a classifier accuracy, macro F1,
Matthews, and the figures of each class. The input is .tsv, .csv, .tab, .jsonl,
.ndjson, .json (each also .gz, .xz, .zst) or .parquet; for a tagger also a file
of CoNLL's form, for questions SQuAD's .json.
"""

from absl import flags as absl_flags

from bert_jax.cli import flags, process_flags
from bert_jax.cli.column_flags import define_columns, with_fields

WORKDIR = absl_flags.DEFINE_string(
  'workdir',
  None,
  'A fine-tuning workdir, or a Hugging Face folder.',
  required=True,
)
INPUT = absl_flags.DEFINE_string(
  'input', None, 'The table of labelled examples.', required=True
)
UNSEEN = absl_flags.DEFINE_enum(
  'unseen',
  None,
  ['refuse', 'wrong'],
  'Whether examples of a class that a classifier does not know are refused, or '
  "count as wrong; without it as the fine-tuning run's.",
)
COLUMNS = define_columns(with_answers=True)
JOINED = process_flags.define_processes()
flags.define_own_classes()


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  from bert_jax.jobs import one_run

  with JOINED('evaluate'), one_run.first_prints():
    _evaluate()


def _evaluate() -> None:
  from bert_jax import inference
  from bert_jax.data.labelled import read_examples
  from bert_jax.jobs import predict

  model = inference.load(WORKDIR.value)
  task = model.require_task('evaluate')
  if UNSEEN.value:
    changed = with_fields(model.experiment.task, {'unseen': UNSEEN.value})
    model.task = changed.build(model.tokenizer.table, task.facts)
  examples = read_examples(INPUT.value, **COLUMNS(model))
  predict.look_over(model, examples, INPUT.value)
  print(predict.evaluation_table(model, examples))
