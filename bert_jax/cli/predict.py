"""Label texts with a fine-tuned model: a JSON line for each, in order.

bert-jax predict --workdir=DIR --input=FILE --output=FILE.jsonl

The input is .tsv, .csv, .tab, .jsonl, .ndjson, .json (each .gz too) or .parquet
with the text columns of the fine-tuning run, or --text_columns; a label column
is not needed. There are as many lines as records, an empty text included, and
each tells its record (from 1), the line of the file where it begins, and its id
where there is a column id, idx, index or guid. A blank line is an empty text in
a table of one column; in a wider one it is an error, but for the end of a file.

{"record": 2, "line": 3, "id": "b7", "label": "pos", "probabilities": {...}}
"""

import os

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
  'input', None, 'The table of texts.', required=True
)
OUTPUT = absl_flags.DEFINE_string(
  'output', None, 'JSON lines: label and probabilities.', required=True
)
COLUMNS = define_columns(with_label=False)
flags.define_own_classes()


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  from bert_jax import inference
  from bert_jax.data.labelled import ID_COLUMNS, read_examples
  from bert_jax.data.tokenizers import unknown
  from bert_jax.jobs import predict
  from bert_jax.local_paths import local_path

  output = local_path(OUTPUT.value, '--output')
  predict.check_output(output, os.path.expanduser(INPUT.value))
  model = inference.load(WORKDIR.value)
  model.require_labels('predict')
  examples = read_examples(INPUT.value, id_columns=ID_COLUMNS, **COLUMNS(model))
  for note in (*model.tokenizer.notes, *examples.notes):
    print(note, flush=True)
  unknown.report(INPUT.value, examples.texts, model.tokenizer)
  predict.write_predictions(model, examples, output)
  print(f'{len(examples.texts):,} predictions in {OUTPUT.value}')
