"""Trains a byte-level BPE, on a sample of bounded size. Same text, same bytes.

Its tokenizer.json is complete: Hugging Face's tokenizers load it too.
"""

import json
from collections.abc import Iterable

from bert_jax.data.sources.base import Document
from bert_jax.data.tokenizers import base, byte_bpe, sample
from bert_jax.data.tokenizers.training import MIN_PAIR_COUNT
from bert_jax.errors import InputError

SMALLEST = len(base.SPECIAL_TOKENS) + 256


def train_byte_bpe(
  documents: Iterable[Document], *, vocab_size: int
) -> byte_bpe.ByteBpe:
  """Learns a vocabulary by merging the most frequent pairs, from bytes on.

  Args:
    documents: Read once; `sample.draw` bounds what is kept of them.
    vocab_size: Entries, with the five special tokens and 256 bytes. A small
      text may give fewer.

  Returns:
    A tokenizer: special tokens first, then the bytes, then merged pieces.

  Raises:
    InputError: vocab_size has no room for the bytes.
  """
  from tokenizers import (
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
  )

  if vocab_size < SMALLEST:
    raise InputError(
      f'--vocab_size={vocab_size}: byte_bpe needs at least {SMALLEST} entries, '
      'for the bytes and the special tokens.'
    )
  tokenizer = Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=vocab_size,
    min_frequency=MIN_PAIR_COUNT,
    special_tokens=list(base.SPECIAL_TOKENS),
    initial_alphabet=sorted(byte_bpe.bytes_of_characters()),
    show_progress=False,
  )
  tokenizer.train_from_iterator(sample.draw(documents), trainer)
  cls_id, sep_id = map(tokenizer.token_to_id, (base.CLS, base.SEP))
  tokenizer.post_processor = processors.TemplateProcessing(
    single=f'{base.CLS} $A {base.SEP}',
    pair=f'{base.CLS} $A {base.SEP} $B {base.SEP}',
    special_tokens=[(base.CLS, cls_id), (base.SEP, sep_id)],
  )
  return byte_bpe.ByteBpe(json.loads(tokenizer.to_str()))
