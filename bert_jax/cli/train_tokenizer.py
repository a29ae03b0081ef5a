"""Train a tokenizer on text.

  bert-jax train_tokenizer --input=docs/*.txt.gz --vocab_size=30000 \\
    --output=DIR

DIR then goes to `prepare --tokenizer=DIR`. The same text gives the same bytes;
a folder that holds the result of the same request already is left as it is,
and where the text has changed since, that is said and nothing is done.
"""

from absl import flags

from bert_jax.cli.flags import no_arguments
from bert_jax.cli.input_flags import define_input

_open_source = define_input()
_KIND = flags.DEFINE_enum(
  'kind',
  'wordpiece',
  ['wordpiece', 'sentencepiece_unigram', 'sentencepiece_bpe', 'byte_bpe'],
  'The kind of tokenizer: WordPiece as BERT has it, SentencePiece as ALBERT '
  '(unigram) and Llama (bpe) have it, with a piece for each byte, or BPE over '
  'bytes as RoBERTa and ModernBERT have it.',
)
_VOCAB_SIZE = flags.DEFINE_integer(
  'vocab_size',
  30_000,
  'Entries, with the five special tokens and, except for WordPiece, 256 bytes.',
)
_LOWERCASE = flags.DEFINE_boolean(
  'lowercase',
  None,
  'Lower the text and strip its accents (uncased): by default WordPiece does, '
  'the other kinds do not.',
)
_OUTPUT = flags.DEFINE_string('output', None, 'Folder to write.', required=True)


def main(argv: list[str]) -> None:
  no_arguments(argv)
  from bert_jax.data.tokenizers.folder import train_folder

  lowercase = _LOWERCASE.value
  if lowercase is None:
    lowercase = _KIND.value == 'wordpiece'
  summary = train_folder(
    _open_source(),
    kind=_KIND.value,
    vocab_size=_VOCAB_SIZE.value,
    lowercase=lowercase,
    output=_OUTPUT.value,
  )
  print(summary)
