"""Trains a SentencePiece model, on a sample of bounded size.

Same text, same bytes: the sample is drawn with a fixed seed, and the trainer
gets a fixed number of threads, in whose order it adds up.
"""

import io
import re
from collections.abc import Iterable

from bert_jax.data.sources.base import Document
from bert_jax.data.tokenizers import base, sample, sentencepiece
from bert_jax.data.tokenizers.training import CHARACTER_COVERAGE
from bert_jax.errors import InputError

MODEL_TYPES = ('unigram', 'bpe')
# A fixed number, not that of cores: the sums of the trainer depend on it.
_NUM_THREADS = 8


def train_sentencepiece(
  documents: Iterable[Document],
  *,
  model_type: str,
  vocab_size: int,
  lowercase: bool,
) -> sentencepiece.SentencePiece:
  """Learns a SentencePiece model, where a piece for each byte is the last aid.

  Args:
    documents: Read once; `sample.draw` bounds what is kept of them.
    model_type: One of MODEL_TYPES.
    vocab_size: Entries, with the five special tokens and 256 bytes. A small
      text may give fewer.
    lowercase: Lower the text and strip its accents ("uncased").

  Returns:
    A tokenizer: special tokens first, then the bytes, then learnt pieces.

  Raises:
    InputError: vocab_size has no room for the characters of the text.
  """
  import sentencepiece as trainer

  chunks = sample.draw(documents)
  model = io.BytesIO()
  try:
    trainer.SentencePieceTrainer.train(
      sentence_iterator=(
        sentencepiece.prepare_text(chunk, lowercase) for chunk in chunks
      ),
      model_writer=model,
      model_type=model_type,
      vocab_size=vocab_size,
      hard_vocab_limit=False,
      pad_id=0,
      unk_id=1,
      bos_id=2,
      eos_id=3,
      pad_piece=base.PAD,
      unk_piece=base.UNK,
      bos_piece=base.CLS,
      eos_piece=base.SEP,
      control_symbols=[base.MASK],
      byte_fallback=True,
      character_coverage=CHARACTER_COVERAGE,
      normalization_rule_name='nmt_nfkc',
      # Counted in bytes; a chunk of the sample is shorter, also after NFKD.
      max_sentence_length=2**20,
      num_threads=_NUM_THREADS,
      minloglevel=2,
    )
  except RuntimeError as error:
    raise _explained(error, vocab_size) from error
  return sentencepiece.SentencePiece(model.getvalue(), lowercase=lowercase)


def _explained(error: RuntimeError, vocab_size: int) -> Exception:
  """The trainer's error in our words, or as it is if it is not about size."""
  found = re.search(r'smaller than required_chars\. \d+ vs (\d+)', str(error))
  if found:
    return InputError(
      f'--vocab_size={vocab_size}: this text needs at least {found[1]} '
      'entries, for its characters, the 256 bytes and the special tokens.'
    )
  if re.search(r'sentences_\.empty|all_chars_count', str(error)):
    return InputError('there is nothing but white space in the text to train.')
  return error
