"""Tokenizers of every kind, trained on a few texts, here or elsewhere."""

import io
import pathlib
import random
import subprocess
import sys

from bert_jax.data.sources import open_inputs
from bert_jax.data.sources.base import Document
from bert_jax.data.tokenizers import Tokenizer, load_tokenizer
from bert_jax.data.tokenizers.folder import train_folder, train_tokenizer

# The kinds of tokenizers, uncased where they can be, and cased.
FORMS = [
  ('wordpiece', True),
  ('wordpiece', False),
  ('sentencepiece_unigram', True),
  ('sentencepiece_unigram', False),
  ('sentencepiece_bpe', True),
  ('sentencepiece_bpe', False),
  ('byte_bpe', False),
]
_TESTS = pathlib.Path(__file__).parent


def train(kind, texts, vocab_size, *, lowercase=False) -> Tokenizer:
  """A tokenizer of one of the KINDS of data/tokenizers/folder.py."""
  documents = (Document(text, 'origin') for text in texts)
  return train_tokenizer(kind, documents, vocab_size, lowercase)


def train_on(path, kind, lowercase, output) -> Tokenizer:
  """The tokenizer of a FORM, trained on the lines of a file as a folder."""
  train_folder(
    open_inputs(str(path), document='line'),
    kind=kind,
    vocab_size=120 if kind == 'wordpiece' else 330,
    lowercase=lowercase,
    output=output,
  )
  return load_tokenizer(output)


def sentencepiece_model(texts, **options) -> bytes:
  """A SentencePiece model with BERT's symbols, as another project's."""
  from sentencepiece import SentencePieceTrainer

  model = io.BytesIO()
  defaults = {
    **{'pad_id': 0, 'unk_id': 1, 'bos_id': -1, 'eos_id': -1},
    'control_symbols': ['[CLS]', '[SEP]', '[MASK]'],
    'hard_vocab_limit': False,
    'minloglevel': 2,
  }
  SentencePieceTrainer.train(
    sentence_iterator=iter(texts), model_writer=model, **(defaults | options)
  )
  return model.getvalue()


def many_words() -> list[str]:
  """Words of equal count, so that ties decide which pairs are merged."""
  rng = random.Random(0)
  return [
    ''.join(rng.choice('abcdefghijklmnop') for _ in range(7))
    for _ in range(3000)
  ]


def fingerprint_elsewhere(call, *, first='', **environment) -> str:
  """The fingerprint of a tokenizer that another process makes.

  `call` is Python that makes it by the functions above; `first` runs before
  they are imported.
  """
  code = (
    f'import os; {first}\n'
    'from trained_tokenizers import many_words, train\n'
    f'print({call}.fingerprint)'
  )
  done = subprocess.run(
    [sys.executable, '-c', code],
    cwd=_TESTS,
    capture_output=True,
    text=True,
    env=environment | {'PYTHONPATH': ':'.join(sys.path)},
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.strip()
