"""Label texts with a fine-tuned model: a JSON line for each, in order.

bert-jax predict --workdir=DIR --input=FILE --output=FILE.jsonl

The input is TSV, CSV or JSONL with the text columns of the fine-tuning run; a
label column is not needed.
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
  'input', None, 'The texts: .tsv, .csv or .jsonl (.gz too).', required=True
)
OUTPUT = absl_flags.DEFINE_string(
  'output', None, 'JSON lines: label and probabilities.', required=True
)


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  import json

  from bert_jax import inference
  from bert_jax.data.labelled import read_examples
  from bert_jax.local_paths import local_path

  output = local_path(OUTPUT.value, '--output')
  model = inference.load(WORKDIR.value)
  model.require_labels('predict')
  examples = read_examples(
    INPUT.value,
    text_columns=model.experiment.task.text_columns,
    label_column=None,
  )
  partial = output.with_name(output.name + '.partial')
  with open(partial, 'w') as file:
    for probabilities in model.predict(examples.texts):
      by_label = dict(
        zip(model.label_names, map(float, probabilities), strict=True)
      )
      label = max(by_label, key=by_label.get)
      line = {'label': label, 'probabilities': by_label}
      file.write(json.dumps(line, ensure_ascii=False) + '\n')
  partial.replace(output)
  print(f'{len(examples.texts):,} predictions in {output}')
