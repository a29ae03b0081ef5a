"""Give a fine-tuned model's results: a JSON line for each example, in order.

bert-jax predict --workdir=DIR --input=FILE --output=FILE.jsonl

The input is .tsv, .csv, .tab, .jsonl, .ndjson, .json (each also .gz, .xz, .zst)
or .parquet, for a tagger also a file of CoNLL's form,
with the text columns of the fine-tuning run, or --text_columns; a label column
is not needed. There are as many lines as records, an empty text included, and
each tells its record (from 1), the line of the file where it begins, and its id
where there is a column id, idx, index or guid. A blank line is an empty text in
a table of one column; in a wider one it is an error, except at the file's end.

The table may be of any size. A command that was stopped leaves its results in
FILE.jsonl.partial, and goes on from there when it is given again.

{"record": 2, "line": 3, "id": "b7", "label": "pos", "probabilities": {...}}

A regression gives a "value"; a tagger "words", "labels" and "probabilities",
one of each for a word. A tagger's input is of CoNLL's form (.conll, .txt), or
JSON or Parquet with lists of words. A model that answers questions gives the
answer as "text", its "start" and "end" in the context, and "candidates"; its
input may be SQuAD's .json. Multiple choice gives the number of the "choice",
from 0, its "text", and "probabilities".
"""

import os

from absl import flags as absl_flags

from bert_jax.cli import flags, process_flags
from bert_jax.cli.column_flags import define_columns

WORKDIR = absl_flags.DEFINE_string(
  'workdir',
  None,
  'A fine-tuning workdir, or a Hugging Face folder.',
  required=True,
)
INPUT = absl_flags.DEFINE_string(
  'input', None, 'The table of texts, or file of words.', required=True
)
OUTPUT = absl_flags.DEFINE_string(
  'output', None, 'JSON lines: a result for each example.', required=True
)
COLUMNS = define_columns(with_answers=False)
JOINED = process_flags.define_processes()
flags.define_own_classes()


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  from bert_jax.jobs import one_run

  with JOINED('predict'), one_run.first_prints():
    _predict()


def _predict() -> None:
  from bert_jax import inference
  from bert_jax.data.example_file import ExampleFile
  from bert_jax.jobs import predict
  from bert_jax.local_paths import local_path
  from bert_jax.parallel import distributed
  from bert_jax.tasks.base import cut_phrase

  output = local_path(OUTPUT.value, '--output')
  if distributed.is_first():
    predict.check_output(output, os.path.expanduser(INPUT.value))
  model = inference.load(WORKDIR.value)
  model.require_task('predict')
  examples = ExampleFile(INPUT.value, **COLUMNS(model))
  predict.look_over(model, examples, INPUT.value)
  request = predict.request_of(model, examples)
  cut = predict.write_predictions(model, examples, output, request)
  treated = f', {cut_phrase(cut)}' if any(cut.values()) else ''
  print(f'{len(examples):,} predictions in {OUTPUT.value}{treated}')
