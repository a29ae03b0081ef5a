"""Turn texts into vectors: a row of an .npy file for each, in order.

bert-jax embed --workdir=DIR --input=FILE --output=FILE.npy

The input is a table, as of predict, with a column of texts. A folder of
sentence-transformers says itself how vectors are made; other models give the
mean of the last layer's states, with length 1.

The table may be of any size. A command that was stopped leaves its vectors in
FILE.npy.partial, and goes on from there when it is given again.

With --precision=int8 the least and the greatest number of each column are in
FILE.ranges.npy, float32 [2, width], which make codes of other texts too
(`quantize_embeddings(..., ranges=...)` of sentence-transformers).
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
  'output', None, 'The .npy file: [texts, width].', required=True
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
DIM = absl_flags.DEFINE_integer(
  'dim',
  0,
  'Numbers to keep of each vector, the first ones, for models that were tuned '
  'so (Matryoshka); 0: as the model says.',
)
PRECISION = absl_flags.DEFINE_enum(
  'precision',
  'float32',
  ['float32', 'int8', 'ubinary'],
  'How numbers are stored: 4 bytes each, 1 byte, or 1 bit (packed in uint8). '
  'What the smaller ones cost is printed.',
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
  import numpy as np

  from bert_jax import durable_files, inference
  from bert_jax.data.example_file import ExampleFile
  from bert_jax.data.examples import TEXTS, Column
  from bert_jax.data.tables import values
  from bert_jax.jobs import embed, predict
  from bert_jax.local_paths import local_path
  from bert_jax.parallel import distributed
  from bert_jax.vector_precision import INT8

  output = local_path(OUTPUT.value, '--output')
  if distributed.is_first():
    predict.check_output(output, os.path.expanduser(INPUT.value))
  model = inference.load(WORKDIR.value)
  embedder = model.embedder(POOLING.value or '', NORMALIZE.value, DIM.value)
  examples = ExampleFile(
    INPUT.value,
    [Column(TEXT_COLUMN.value, 'text_column', TEXTS, values.texts)],
    header=HEADER.value or '',
    flags='--',
  )
  predict.look_over(model, examples, INPUT.value)
  distributed.require_equal(
    {'form of vectors': str([embedder.form, PRECISION.value, CUT.value])}
  )
  if not CUT.value:
    embed.refuse_long_texts(embedder, examples)
  precision, cost = embed.fit_precision(
    embedder, examples, PRECISION.value, CUT.value
  )
  # Before the vectors have their name, so that none are there without them.
  ranges = output.with_suffix('.ranges.npy')
  if PRECISION.value == INT8 and distributed.is_first():
    with durable_files.new_file(ranges) as file:
      np.save(file, precision.ranges_2D)
  request = embed.request_of(model, embedder, examples, PRECISION.value)
  counts = embed.write_vectors(
    embedder,
    examples,
    output,
    cut=CUT.value,
    precision=precision,
    request=request,
  )
  if counts['cut']:
    print(
      f'{counts["cut"]:,} of {len(examples):,} texts were cut to '
      f'{embedder.max_tokens} tokens'
    )
  if cost:
    print(cost)
  if PRECISION.value == INT8:
    share = counts['outside'] / (len(examples) * embedder.dim)
    print(f'ranges in {ranges}; {share:.2%} of the numbers are outside of them')
  print(
    f'{len(examples):,} vectors of {embedder.dim} numbers in {OUTPUT.value}'
  )
