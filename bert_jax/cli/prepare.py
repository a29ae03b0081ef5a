"""Turn text (.txt, JSON, CSV, Parquet, Arrow) into token rows for `pretrain`.

  bert-jax prepare --input=docs/*.txt.gz --tokenizer=TOKENIZER_DIR \\
    --row_length=128,512 --output=DIR

Documents are packed into rows, never truncated (except by --pairs, which counts
what it takes away). Run again after an interruption, it goes on from the
finished blocks and ends with the same bytes. Run again on the same content, it
does nothing; on files that hold something else now, it says which and stops.

  bert-jax prepare ... --part=1/4   prepares a part, as on a machine of several
  bert-jax prepare ... --engine=beam -- --runner=FlinkRunner ...
  bert-jax prepare ... --dry_run    reads a sample, says what would come of it
  bert-jax prepare --verify=DIR     rereads DIR against its checksums
"""

from collections.abc import Sequence
from typing import Any

from absl import flags

from bert_jax.cli.flags import no_arguments, required, whole_numbers
from bert_jax.cli.input_flags import define_input
from bert_jax.errors import InputError, shown

_open_source = define_input()
_MIN_CHARACTERS = flags.DEFINE_integer(
  'min_characters', 0, 'Leave out documents shorter than this.'
)
_MAX_CHARACTERS = flags.DEFINE_integer(
  'max_characters', 0, 'Leave out documents longer than this; 0: none.'
)
_DEDUPLICATE = flags.DEFINE_boolean(
  'deduplicate', False, 'Keep the first of documents with the same text.'
)
_NEAR_DUPLICATES = flags.DEFINE_float(
  'near_duplicates',
  0.0,
  'Leave out a document that shares this much of its runs of five words with '
  'an earlier one, such as 0.8 (MinHash; 0: none).',
)
_KEEP = flags.DEFINE_string(
  'keep',
  '',
  'MODULE:FUNCTION of your own, called with the text of each document; where '
  'it gives False the document is left out.',
)
_TOKENIZER = flags.DEFINE_string(
  'tokenizer', None, 'A tokenizer folder or a vocab.txt; needed to prepare.'
)
_ROW_LENGTH = flags.DEFINE_list(
  'row_length',
  ['128'],
  'Tokens in a row; a folder is written for each value.',
)
_EVAL_FRACTION = flags.DEFINE_float(
  'eval_fraction',
  0.01,
  'Share of the documents, chosen by a hash of the text, that is kept out of '
  'training, in OUTPUT/eval.',
)
_WORD_SEGMENTER = flags.DEFINE_string(
  'word_segmenter',
  '',
  "Note where words begin, for whole-word masking: 'jieba' for Chinese, or "
  'MODULE:FUNCTION of your own that gives the list of words of a text.',
)
_PAIRS = flags.DEFINE_string(
  'pairs',
  '',
  "Rows of pairs instead of texts: 'next_sentence' (as BERT) or "
  "'sentence_order' (as ALBERT).",
)
_OUTPUT = flags.DEFINE_string(
  'output', None, 'Folder to write; needed to prepare.'
)
_MAX_UNKNOWN = flags.DEFINE_float(
  'max_unknown',
  0.2,
  'The largest share of tokens that may be unknown to the tokenizer; where the '
  'reason is plain, such as a wrong case, 15 % of it. 1 turns it off.',
)
_ENGINE = flags.DEFINE_enum(
  'engine',
  'local',
  ['local', 'beam'],
  'Where blocks are worked on: processes of this machine, or Apache Beam, '
  'whose own flags follow after --. The bytes are the same.',
)
_WORKERS = flags.DEFINE_integer(
  'workers', 0, 'Processes on this machine; 0 takes all cores.'
)
_PART = flags.DEFINE_string(
  'part',
  None,
  'I/N prepares part I of N alone, beside OUTPUT; the same command without it '
  'joins them.',
)
_DRY_RUN = flags.DEFINE_boolean(
  'dry_run', False, 'Read a sample, say what would come of it, write nothing.'
)
_VERIFY = flags.DEFINE_string(
  'verify', None, 'A prepared folder to reread against its manifests instead.'
)


def main(argv: list[str]) -> None:
  beam_flags = _beam_flags(argv)
  if _VERIFY.value is not None:
    return _verify(_VERIFY.value)
  from bert_jax.data import tokenizers
  from bert_jax.data.preparing import parts, prepare, preview
  from bert_jax.data.preparing.summary import format_summary

  part = parts.parse(_PART.value) if _PART.value is not None else None
  if part and _DRY_RUN.value:
    raise InputError('--part and --dry_run: give one of the two')
  tokenizer = required(_TOKENIZER)
  output = '' if _DRY_RUN.value else required(_OUTPUT)
  source = _filtered_source()
  options: dict[str, Any] = {
    'row_lengths': whole_numbers(_ROW_LENGTH),
    'eval_fraction': _EVAL_FRACTION.value,
    'word_segmenter': _WORD_SEGMENTER.value,
    'pairs': _PAIRS.value,
    'num_workers': _WORKERS.value,
  }
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
    beam_flags=beam_flags,
    part=part,
    **options,
  )
  print(format_summary(summary, output))


def _beam_flags(arguments: Sequence[str]) -> tuple[str, ...] | None:
  """The checked arguments, which are Beam's flags; None without Beam."""
  if _ENGINE.value == 'beam':
    from bert_jax.data.preparing import beam_flags

    beam_flags.check(tuple(arguments))
    return tuple(arguments)
  if arguments and arguments[0].startswith('-'):
    raise InputError(
      f'{shown(arguments[0])} follows --, where the flags of Beam stand; '
      'give --engine=beam'
    )
  no_arguments(arguments)
  return None


def _filtered_source() -> Any:
  from bert_jax.data.preparing import filters

  return filters.filtered(
    _open_source(),
    filters.FilterOptions(
      min_characters=_MIN_CHARACTERS.value,
      max_characters=_MAX_CHARACTERS.value,
      deduplicate=_DEDUPLICATE.value,
      near_duplicates=_NEAR_DUPLICATES.value,
      keep=_KEEP.value,
    ),
  )


def _verify(folder: str) -> None:
  from bert_jax.data.preparing.verify import verify_corpus

  if _DRY_RUN.value:
    raise InputError('--verify and --dry_run: give one of the two')
  for flag in (_TOKENIZER, _OUTPUT, _PART):
    if flag.value is not None:
      raise InputError(f'--verify writes nothing; leave --{flag.name} out')
  for line in verify_corpus(folder, progress=True):
    print(line, flush=True)
