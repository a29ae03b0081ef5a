"""Turn text (.txt, JSON, CSV, Parquet, Arrow) into token rows for `pretrain`.

  bert-jax prepare --input=docs/*.txt.gz --tokenizer=TOKENIZER_DIR \\
    --row_length=128,512 --output=DIR

Documents are packed into rows, never truncated (except by --pairs, which counts
what it takes away). Run again after an interruption, it goes on from the
finished blocks and ends with the same bytes. Run again on the same content, it
does nothing; on files that hold something else now, it says which and stops.

  bert-jax prepare ... --engine=beam -- --runner=FlinkRunner ...
  bert-jax prepare ... --dry_run    reads a sample, says what would come of it
  bert-jax prepare --verify=DIR     rereads DIR against its checksums
"""

from absl import flags

from bert_jax.cli.engine_flags import define_engine
from bert_jax.cli.filter_flags import define_filters
from bert_jax.cli.flags import required
from bert_jax.cli.input_flags import define_input
from bert_jax.cli.row_flags import define_rows
from bert_jax.errors import InputError

_open_source = define_input()
_filtered = define_filters()
_TOKENIZER = flags.DEFINE_string(
  'tokenizer', None, 'A tokenizer folder or a vocab.txt; needed to prepare.'
)
_row_options = define_rows()
_OUTPUT = flags.DEFINE_string(
  'output', None, 'Folder to write; needed to prepare.'
)
_MAX_UNKNOWN = flags.DEFINE_float(
  'max_unknown',
  0.2,
  'The largest share of tokens that may be unknown to the tokenizer; where the '
  'reason is plain, such as a wrong case, 15 % of it. 1 turns it off.',
)
_engine = define_engine()
_DRY_RUN = flags.DEFINE_boolean(
  'dry_run', False, 'Read a sample, say what would come of it, write nothing.'
)
_VERIFY = flags.DEFINE_string(
  'verify', None, 'A prepared folder to reread against its manifests instead.'
)


def main(argv: list[str]) -> None:
  engine = _engine(argv)
  if _VERIFY.value is not None:
    return _verify(_VERIFY.value)
  from bert_jax.data import tokenizers
  from bert_jax.data.preparing import prepare, preview
  from bert_jax.data.preparing.summary import format_summary

  tokenizer = required(_TOKENIZER)
  output = '' if _DRY_RUN.value else required(_OUTPUT)
  source = _filtered(_open_source())
  options = {**_row_options(), 'num_workers': engine['num_workers']}
  tokenizer = tokenizers.load_tokenizer(tokenizer)
  for note in tokenizer.notes:
    print(note, flush=True)
  if _DRY_RUN.value:
    print(preview.preview(source, tokenizer, **options))
    return
  summary = prepare.prepare(
    source,
    tokenizer,
    output=output,
    max_unknown=_MAX_UNKNOWN.value,
    progress=True,
    **options | engine,
  )
  print(format_summary(summary, output))


def _verify(folder: str) -> None:
  from bert_jax.data.preparing.verify import verify_corpus

  if _DRY_RUN.value:
    raise InputError('--verify and --dry_run: give one of the two')
  for flag in (_TOKENIZER, _OUTPUT):
    if flag.value is not None:
      raise InputError(f'--verify writes nothing; leave --{flag.name} out')
  for line in verify_corpus(folder, progress=True):
    print(line, flush=True)
