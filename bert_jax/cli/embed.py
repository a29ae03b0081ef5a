"""Turn texts into vectors: a row of an .npy file for each, in order.

bert-jax embed --workdir=DIR --input=FILE --output=FILE.npy

The input is a table, as of predict, with a column of texts. Vectors are
float32. A folder of sentence-transformers says itself how they are made; other
models give the mean of the last layer's states, with length 1.
"""

import os

from absl import flags as absl_flags

from bert_jax.cli import flags, process_flags
from bert_jax.cli.column_flags import define_header
from bert_jax.models.vector_form import POOLINGS

WORKDIR = absl_flags.DEFINE_string(
  'workdir',
  None,
  'A workdir, WORKDIR@STEP, or a folder of Hugging Face or '
  'sentence-transformers.',
  required=True,
)
INPUT = absl_flags.DEFINE_string(
  'input', None, 'The table of texts.', required=True
)
OUTPUT = absl_flags.DEFINE_string(
  'output', None, 'The .npy file: float32 [texts, width].', required=True
)
TEXT_COLUMN = absl_flags.DEFINE_string(
  'text_column',
  'text',
  'The column of texts, by name, or by number from 0 where a .tsv or .csv has '
  'no header.',
)
HEADER = define_header()
POOLING = absl_flags.DEFINE_enum(
  'pooling', None, POOLINGS, 'How states become one vector.'
)
NORMALIZE = absl_flags.DEFINE_bool(
  'normalize', None, 'Whether vectors have length 1.'
)
CUT = absl_flags.DEFINE_bool(
  'cut', False, 'Drop the ends of texts that are too long, and count these.'
)
JOINED = process_flags.define_processes()
flags.define_own_classes()


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  from bert_jax.jobs import one_run

  with JOINED('embed'), one_run.first_prints():
    _embed()


def _embed() -> None:
  from bert_jax import inference
  from bert_jax.data.examples import text_columns
  from bert_jax.data.labelled import read_examples
  from bert_jax.jobs import embed, predict
  from bert_jax.local_paths import local_path
  from bert_jax.parallel import distributed

  output = local_path(OUTPUT.value, '--output')
  if distributed.is_first():
    predict.check_output(output, os.path.expanduser(INPUT.value))
  model = inference.load(WORKDIR.value)
  embedder = model.embedder(POOLING.value or '', NORMALIZE.value)
  examples = read_examples(
    INPUT.value,
    text_columns([TEXT_COLUMN.value], None),
    header=HEADER.value or '',
    flags='--',
  )
  predict.look_over(model, examples, INPUT.value)
  distributed.require_equal(
    {'form of vectors': str([embedder.form, CUT.value])}
  )
  num_cut = embed.write_vectors(
    embedder, [text for (text,) in examples.texts], output, cut=CUT.value
  )
  if num_cut:
    print(
      f'{num_cut:,} of {len(examples):,} texts were cut to '
      f'{embedder.max_tokens} tokens'
    )
  print(
    f'{len(examples):,} vectors of {embedder.dim} numbers in {OUTPUT.value}'
  )
