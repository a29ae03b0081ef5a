"""A vocabulary of fifty words, and blocks that a short text fills."""

import pytest
from small_texts import WORDS

from bert_jax.data.preparing import blocks
from bert_jax.data.tokenizers import load_tokenizer
from bert_jax.data.tokenizers.base import SPECIAL_TOKENS


@pytest.fixture
def small_blocks(monkeypatch):
  monkeypatch.setattr(blocks, 'BLOCK_CHARACTERS', 2000)


@pytest.fixture
def vocab(tmp_path):
  path = tmp_path / 'vocab.txt'
  entries = [
    *SPECIAL_TOKENS,
    *WORDS,
    *('[', ']', 'sep', 'pad', 'mask', '##s', '.'),
  ]
  path.write_text('\n'.join(entries) + '\n')
  return path


@pytest.fixture
def tokenizer(vocab):
  return load_tokenizer(vocab)
