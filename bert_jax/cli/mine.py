"""Find hard negatives for pairs of texts, to tune a sentence encoder on.

bert-jax mine --workdir=ENCODER --input=pairs.tsv --output=triplets.jsonl
bert-jax finetune --config=experiments/finetune/sentence_embedding.py \\
    --config.task.train_path=triplets.jsonl \\
    --config.task.text_columns=anchor,positive,negative_1,negative_2,negative_3

The negatives of a pair are the documents that the encoder finds nearest to its
anchor, without the anchor's positives and what is nearly as near as these. The
documents are all positives, and the texts of --corpus.
"""

import os

from absl import flags as absl_flags

from bert_jax.cli import flags
from bert_jax.cli.column_flags import define_header

WORKDIR = absl_flags.DEFINE_string(
  'workdir',
  None,
  'The encoder: a workdir, WORKDIR@STEP, or a folder of Hugging Face or '
  'sentence-transformers.',
  required=True,
)
INPUT = absl_flags.DEFINE_string(
  'input', None, 'The table of pairs.', required=True
)
OUTPUT = absl_flags.DEFINE_string(
  'output', None, 'JSON lines: a pair with its negatives each.', required=True
)
TEXT_COLUMNS = absl_flags.DEFINE_list(
  'text_columns',
  ['anchor', 'positive'],
  'The columns of anchors and positives, by name, or by number from 0 where a '
  '.tsv or .csv has no header.',
)
HEADER = define_header()
CORPUS = absl_flags.DEFINE_string('corpus', '', 'A table of more documents.')
CORPUS_COLUMN = absl_flags.DEFINE_string(
  'corpus_column', 'text', 'The column of its texts.'
)
NUM_NEGATIVES = absl_flags.DEFINE_integer(
  'num_negatives',
  3,
  'Negatives of a pair; one with fewer is left out, and counted.',
)
RANGE_MIN = absl_flags.DEFINE_integer(
  'range_min', 0, 'Nearest documents to pass over, which may be right.'
)
RANGE_MAX = absl_flags.DEFINE_integer(
  'range_max', 100, 'Nearest documents to look at.'
)
MAX_SCORE = absl_flags.DEFINE_float(
  'max_score', 1.0, 'The largest cosine of a negative with the anchor.'
)
RELATIVE_MARGIN = absl_flags.DEFINE_float(
  'relative_margin',
  0.05,
  "A negative's cosine is at most 1 - this of the positive's.",
)
CUT = absl_flags.DEFINE_bool(
  'cut', False, 'Drop the ends of texts that are too long, and count these.'
)
flags.define_own_classes()


def main(argv: list[str]) -> None:
  flags.no_arguments(argv)
  from bert_jax import durable_files, inference
  from bert_jax.data.examples import TEXTS, Column, text_columns
  from bert_jax.data.labelled import read_examples
  from bert_jax.data.tables import values
  from bert_jax.errors import InputError
  from bert_jax.jobs import mine, predict
  from bert_jax.local_paths import local_path

  mining = mine.Mining(
    num_negatives=NUM_NEGATIVES.value,
    range_min=RANGE_MIN.value,
    range_max=RANGE_MAX.value,
    max_score=MAX_SCORE.value,
    relative_margin=RELATIVE_MARGIN.value,
  )
  columns = TEXT_COLUMNS.value
  if len(columns) != 2:
    raise InputError(
      f'--text_columns={",".join(columns)}: name two, the anchors and the '
      'positives'
    )
  output = local_path(OUTPUT.value, '--output')
  predict.check_output(output, os.path.expanduser(INPUT.value))
  model = inference.load(WORKDIR.value)
  embedder = model.embedder(normalize=True)
  pairs = read_examples(
    INPUT.value,
    text_columns(columns, None),
    header=HEADER.value or '',
    flags='--',
  )
  predict.look_over(model, pairs, INPUT.value)
  more = []
  if CORPUS.value:
    column = Column(CORPUS_COLUMN.value, 'corpus_column', TEXTS, values.texts)
    corpus = read_examples(
      CORPUS.value, [column], header=HEADER.value or '', flags='--'
    )
    predict.look_over(model, corpus, CORPUS.value)
    more = [text for (text,) in corpus.texts]
  mined = mine.mine(embedder, pairs, more, mining, cut=CUT.value)
  with durable_files.new_file(output) as file:
    file.writelines(mined.lines())
  if mined.num_cut:
    print(f'{mined.num_cut:,} texts were cut to {embedder.max_tokens} tokens')
  right, wrong = mined.mean_scores
  print(
    f'cosine with the anchor: {right:.3f} positives, {wrong:.3f} negatives; '
    f'{mined.num_near:,} documents were too near to be negatives'
  )
  print(
    f'{len(mined.records):,} pairs with {mining.num_negatives} negatives each '
    f'in {OUTPUT.value}; {mined.num_without:,} have fewer, and were left out'
  )
