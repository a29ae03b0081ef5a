"""The word cache: what is asked once, what is forgotten, what is kept out."""

import re

import numpy as np
import pytest

from bert_jax.data.tokenizers import word_cache


@pytest.fixture
def asked():
  return []


@pytest.fixture
def cache(asked):
  def encode(words):
    asked.extend(words)
    return [[len(word), ord(word[0])] for word in words]

  return word_cache.WordCache(encode, re.compile(r'\S+'))


def encode(cache, *texts):
  return [ids.tolist() for ids in cache.encode_batch(texts)]


def test_each_word_is_asked_for_once(cache, asked):
  assert encode(cache, 'aa b', 'b', '') == [[2, 97, 1, 98], [1, 98], []]
  assert encode(cache, 'b c') == [[1, 98, 1, 99]]
  assert sorted(asked) == ['aa', 'b', 'c']
  assert all(ids.dtype == np.int32 for ids in cache.encode_batch(['', 'b']))


def test_long_words_are_not_kept(cache, asked):
  long = 'x' * (word_cache.MAX_WORD_CHARACTERS + 1)
  first = encode(cache, f'{long} b {long}')
  assert encode(cache, f'{long} b {long}') == first
  assert sorted(asked) == ['b', long, long]


def test_memory_is_bounded(cache, asked, monkeypatch):
  monkeypatch.setattr(word_cache, 'MAX_WORDS', 3)
  for text in ('a b', 'c d', 'a c', 'a b c d e'):
    expected = [part for word in text.split() for part in (1, ord(word))]
    assert encode(cache, text) == [expected]
    assert len(cache._ids) <= max(3, len(text.split()))
  assert asked.count('a') > 1
