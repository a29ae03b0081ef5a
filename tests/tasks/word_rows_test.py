"""Sentences as rows: where words are, windows, and what is counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.tokenizers import base, wordpiece
from bert_jax.tasks.word_rows import encode_sentences, windows_of

TOKENS = [*base.SPECIAL_TOKENS, 'a', 'b', '##a', '##b', '[', ']', 'cls']


@pytest.fixture(scope='module')
def tokenizer():
  return wordpiece.WordPiece(TOKENS, lowercase=True)


def shown(tokenizer, row):
  return ' '.join(
    tokenizer.token(int(i)).strip('[]') or tokenizer.token(int(i))
    for i in row
    if i != tokenizer.table.pad_id
  )


def test_the_first_token_of_each_word(tokenizer):
  ids, places, cut = encode_sentences(tokenizer, [('ab', 'a', 'ba'), ('b',)], 8)
  assert [shown(tokenizer, row) for row in ids] == [
    'CLS a ##b a b ##a SEP',
    'CLS b SEP',
  ]
  assert places.row.tolist() == [0, 0, 0, 1]
  assert places.place.tolist() == [1, 3, 4, 1]
  assert cut == {'divided into rows of max_length=8 tokens': 0}


def test_a_word_of_which_nothing_is_kept_has_a_place(tokenizer):
  """A zero-width space and a control character are no text to WordPiece."""
  ids, places, cut = encode_sentences(
    tokenizer, [('a', '\u200b', 'b'), ('\x01',)], 8
  )
  assert [shown(tokenizer, row) for row in ids] == [
    'CLS a UNK b SEP',
    'CLS UNK SEP',
  ]
  assert places.place.tolist() == [1, 2, 3, 1]
  assert cut['words of which the tokenizer keeps nothing'] == 2


def test_a_long_sentence_is_several_rows(tokenizer):
  words = tuple('ab'[n % 2] for n in range(15))
  ids, places, cut = encode_sentences(tokenizer, [words, ('a',)], 10)
  assert len(ids) == 4 and [*cut.values()] == [1]
  assert len(places.row) == 16
  for number, (row, place) in enumerate(zip(*places, strict=True)):
    expected = words[number] if number < 15 else 'a'
    assert tokenizer.token(int(ids[row, place])) == expected
  # A neighbour on both sides, but at the ends of the sentence.
  for row, place in list(zip(*places, strict=True))[1:14]:
    around = ids[row, place - 1], ids[row, place + 1]
    assert not set(around) & {tokenizer.table.cls_id, tokenizer.table.sep_id}


def test_a_word_longer_than_a_row_is_cut_and_counted(tokenizer):
  ids, places, cut = encode_sentences(tokenizer, [('a', 'ab' * 20, 'b')], 8)
  assert len(places.row) == 3 and cut['words cut to a row'] == 1
  first = ids[places.row, places.place]
  assert [tokenizer.token(int(i)) for i in first] == ['a', 'a', 'b']


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=60), st.integers(6, 20))
def test_each_word_is_judged_once_and_fits(lengths, room):
  judged = []
  for window in windows_of(lengths, room):
    assert window.first <= window.judged_first <= window.judged_end
    assert window.judged_end <= window.end
    assert sum(lengths[window.first : window.end]) <= room
    judged += range(window.judged_first, window.judged_end)
  assert judged == list(range(len(lengths)))


def test_words_with_spaces_and_accents(tokenizer):
  ids, places, _ = encode_sentences(tokenizer, [('a b', 'á', 'b')], 8)
  assert shown(tokenizer, ids[0]) == 'CLS a b a b SEP'
  np.testing.assert_array_equal(places.place, [1, 3, 4])
