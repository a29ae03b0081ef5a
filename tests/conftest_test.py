"""Checks the promises that the shared fixtures make to tests."""

import os
import pathlib

import jax
import numpy as np


def test_eight_simulated_devices():
  assert [device.platform for device in jax.devices()] == ['cpu'] * 8


def test_compiled_code_is_kept():
  folder = os.environ['JAX_COMPILATION_CACHE_DIR']
  assert jax.config.jax_compilation_cache_dir == folder
  assert pathlib.Path(folder).is_dir()


def test_small_corpus_has_a_few_hundred_rows(small_corpus, small_tokenizer):
  from bert_jax.data.token_rows import TokenRows

  table = small_tokenizer.table
  for folder, fewest, most in (('32', 200, 500), ('eval/32', 20, 100)):
    corpus = TokenRows(small_corpus / folder)
    assert corpus.row_length == 32
    assert fewest <= corpus.num_rows <= most
    assert corpus.tokenizer_fingerprint == small_tokenizer.fingerprint
    rows = corpus.rows(np.arange(corpus.num_rows))
    assert (rows[:, 0] == table.cls_id).all()
    # Tests of segments need rows of one, two and more of them.
    num_segments = (rows == table.cls_id).sum(axis=1)
    assert {1, 2} <= set(num_segments.tolist())
    # The vocabulary fits the text: each of its letters is known.
    assert not (rows == table.unk_id).any()


def test_small_tokenizer_splits_some_words(small_tokenizer):
  table = small_tokenizer.table
  assert table.vocab_size == 160
  assert (
    0 < table.word_starts[table.ordinary_ids].sum() < table.ordinary_ids.size
  )


def test_small_corpus_holds_its_tokenizer(small_corpus, small_tokenizer):
  from bert_jax.data.tokenizers import load_tokenizer

  loaded = load_tokenizer(small_corpus / 'tokenizer')
  assert loaded.fingerprint == small_tokenizer.fingerprint
