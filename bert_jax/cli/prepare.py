"""Turn text into token rows that `pretrain` reads.

  bert-jax prepare --input=docs/*.txt.gz --tokenizer=TOKENIZER_DIR \\
    --row_length=128,512 --output=DIR

Documents are packed into rows, never truncated. Run again after an
interruption, it goes on from the finished blocks and ends with the same bytes.
"""

from absl import flags

from bert_jax.cli.flags import no_arguments
from bert_jax.errors import InputError, shown

_INPUT = flags.DEFINE_string(
  'input',
  'installed_docs:',
  'What to read, comma-separated: text files (*.txt, .gz, .xz, .zst), JSONL '
  '(*.jsonl), globs, folders, or installed_docs: for the docstrings of the '
  'installed packages.',
)
_DOCUMENT = flags.DEFINE_enum(
  'document',
  'file',
  ['file', 'line', 'paragraph'],
  'What one document is in a text file.',
)
_TEXT_FIELD = flags.DEFINE_string(
  'text_field', 'text', 'The field of a JSONL line that holds the text.'
)
_TOKENIZER = flags.DEFINE_string(
  'tokenizer', None, 'A tokenizer folder or a vocab.txt.', required=True
)
_ROW_LENGTH = flags.DEFINE_list(
  'row_length', ['128'], 'Tokens in a row; a folder is written for each value.'
)
_EVAL_FRACTION = flags.DEFINE_float(
  'eval_fraction',
  0.01,
  'Share of the documents, chosen by a hash of the text, that is kept out of '
  'training, in OUTPUT/eval.',
)
_OUTPUT = flags.DEFINE_string('output', None, 'Folder to write.', required=True)
_WORKERS = flags.DEFINE_integer('workers', 0, 'Processes; 0 takes all cores.')


def main(argv: list[str]) -> None:
  no_arguments(argv)
  from bert_jax.data import prepare, prepare_console, sources, tokenizers

  summary = prepare.prepare(
    sources.open_inputs(
      _INPUT.value, document=_DOCUMENT.value, text_field=_TEXT_FIELD.value
    ),
    tokenizers.load_tokenizer(_TOKENIZER.value),
    output=_OUTPUT.value,
    row_lengths=_row_lengths(_ROW_LENGTH.value),
    eval_fraction=_EVAL_FRACTION.value,
    num_workers=_WORKERS.value,
    progress=True,
  )
  print(prepare_console.format_summary(summary, _OUTPUT.value))


def _row_lengths(values: list[str]) -> tuple[int, ...]:
  try:
    return tuple(int(value) for value in values)
  except ValueError:
    raise InputError(
      f'--row_length={shown(",".join(values))}: give whole numbers, such as '
      '128,512'
    ) from None
