"""Packing: every token once, in order, and little padding."""

import collections

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from bert_jax.data.preparing.packing import MAX_ROW_LENGTH, Layout, cut
from bert_jax.errors import InputError

PAD, CLS, SEP = 0, 2, 3
FIRST_ORDINARY = 5


def pack_rows(documents, row_length):
  pieces = cut(np.array([len(ids) for ids in documents], int), row_length)
  tokens = np.concatenate([*documents, np.empty(0, int)]).astype(np.int32)
  return token_rows(Layout(*pieces, row_length), tokens)


def token_rows(layout, tokens):
  return layout.token_rows(tokens, cls_id=CLS, sep_id=SEP, pad_id=PAD)


def unpack(rows):
  """The segments of rows, read without any help of the packing code."""
  segments = []
  for row in rows.tolist():
    position = 0
    while position < len(row) and row[position] != PAD:
      assert row[position] == CLS
      end = row.index(SEP, position)
      segments.append(tuple(row[position + 1 : end]))
      position = end + 1
    assert set(row[position:]) <= {PAD}
  return segments


def pieces(documents, row_length):
  for ids in documents:
    for start in range(0, len(ids), row_length - 2):
      yield tuple(ids[start : start + row_length - 2])


@st.composite
def corpora(draw):
  lengths = draw(st.lists(st.integers(0, 60), max_size=40))
  # Distinct ids, so that a token in the wrong place cannot go unseen.
  ids = np.arange(FIRST_ORDINARY, FIRST_ORDINARY + sum(lengths))
  return np.split(ids, np.cumsum(lengths)[:-1]) if lengths else []


@hypothesis.given(corpora(), st.integers(8, 70))
@hypothesis.settings(max_examples=150, deadline=None)
def test_every_token_is_kept_once_and_in_order(documents, row_length):
  rows = pack_rows(documents, row_length)
  assert rows.dtype == np.int32
  assert rows.shape[1] == row_length
  expected = [tuple(piece) for piece in pieces(documents, row_length)]
  assert collections.Counter(unpack(rows)) == collections.Counter(expected)


@hypothesis.given(corpora(), st.integers(8, 70))
@hypothesis.settings(max_examples=50, deadline=None)
def test_rows_and_their_segments_stand_in_reading_order(documents, row_length):
  rows = pack_rows(documents, row_length)
  # Ids grow through the corpus, so the first id of a segment tells its place.
  assert (np.diff(rows[:, 1]) > 0).all()
  for row in rows:
    firsts = row[1:][row[:-1] == CLS]
    assert (np.diff(firsts) > 0).all()


@hypothesis.given(corpora(), st.integers(8, 70))
@hypothesis.settings(max_examples=50, deadline=None)
def test_no_two_rows_would_fit_into_one(documents, row_length):
  used = np.sort((pack_rows(documents, row_length) != PAD).sum(1))
  if len(used) > 1:
    assert used[0] + used[1] > row_length


def test_the_fullest_row_with_room_is_taken():
  # Rows of 10 and 7 places are begun; the segment of 3 fits both and goes to
  # the one that it fills.
  documents = [np.arange(10, 18), np.arange(20, 26), np.arange(30, 32)]
  rows = pack_rows(documents, 12)
  assert [tuple(row) for row in rows.tolist()] == [
    (CLS, *range(10, 18), SEP, PAD, PAD),
    (CLS, *range(20, 26), SEP, CLS, 30, 31, SEP),
  ]


def test_same_rows_each_time():
  rng = np.random.default_rng(0)
  documents = [rng.integers(5, 99, n) for n in rng.integers(1, 300, 500)]
  np.testing.assert_array_equal(
    pack_rows(documents, 64), pack_rows(documents, 64)
  )


def test_little_padding_on_lengths_like_those_of_docstrings():
  rng = np.random.default_rng(1)
  lengths = np.clip(rng.lognormal(4.3, 1.2, 3000), 1, 10_000).astype(int)
  rows = pack_rows([np.full(n, 7) for n in lengths], 128)
  assert (rows == PAD).mean() < 0.005
  # One document a row would leave a multiple of that empty.
  assert len(rows) < 0.7 * (-(-lengths // 126)).sum()


def test_no_documents():
  assert pack_rows([], 16).shape == (0, 16)
  assert pack_rows([np.empty(0, np.int32)], 16).shape == (0, 16)


@pytest.mark.parametrize('row_length', [-1, 0, 7])
def test_short_rows_are_refused(row_length):
  with pytest.raises(InputError, match=f'row_length={row_length}.*8 or more'):
    pack_rows([np.arange(5, 9)], row_length)


def test_the_longest_rows():
  assert pack_rows([np.arange(5, 9)], MAX_ROW_LENGTH).shape == (1, 2**20)


@pytest.mark.parametrize('row_length', [MAX_ROW_LENGTH + 1, 10**30])
def test_rows_that_fill_the_memory_are_refused(row_length):
  with pytest.raises(InputError, match=f'row_length={row_length} is too long'):
    pack_rows([np.arange(5, 9)], row_length)


def pair_layout(pairs, row_length):
  """Of pairs of ranges of tokens; token i is FIRST_ORDINARY + i."""
  starts = np.array([[a.start, b.start] for a, b in pairs])
  lengths = np.array([[len(a), len(b)] for a, b in pairs])
  return Layout(starts, lengths, row_length)


@hypothesis.given(
  st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1),
  st.integers(43, 90),
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_pairs_are_packed_like_texts(sizes, row_length):
  # Parts lie apart, and B before A as often as not.
  places = np.random.default_rng(0).permutation(2 * len(sizes)) * 30
  pairs = [
    (range(a, a + n), range(b, b + m))
    for a, b, (n, m) in zip(places[::2], places[1::2], sizes, strict=True)
  ]
  layout = pair_layout(pairs, row_length)
  tokens = np.arange(60 * len(sizes)) + FIRST_ORDINARY
  rows = token_rows(layout, tokens)
  labels = layout.labels(np.arange(len(pairs)) % 2)
  found = []
  for row, row_labels in zip(rows.tolist(), labels.tolist(), strict=True):
    text = ''.join(map(chr, row)).partition(chr(PAD))[0]
    segments = text.split(chr(CLS))[1:]
    assert row_labels[len(segments) :] == [-1] * (
      labels.shape[1] - len(segments)
    )
    for segment, label in zip(segments, row_labels, strict=False):
      a, b, rest = segment.split(chr(SEP))
      assert not rest
      found.append((label, [*map(ord, a)], [*map(ord, b)]))
  expected = [
    (
      number % 2,
      *([FIRST_ORDINARY + i for i in part] for part in pair),
    )
    for number, pair in enumerate(pairs)
  ]
  assert sorted(found) == sorted(expected)
  used = np.sort((rows != PAD).sum(1))
  assert len(used) == 1 or used[0] + used[1] > row_length


def test_labels_are_in_the_order_of_the_rows():
  sizes = [(10, 1), (1, 1), (9, 1), (2, 1)]
  layout = pair_layout([(range(a), range(b)) for a, b in sizes], 19)
  np.testing.assert_array_equal(
    layout.labels(np.array([1, 0, 1, 1])), [[1, 0], [1, 1]]
  )
  assert layout.labels(np.array([1, 0, 1, 1])).dtype == np.int8


def test_words_start_after_special_tokens_and_where_it_is_said():
  starts = np.array([0, 1, 0, 0, 1, 0, 0], bool)
  layout = pair_layout([(range(0, 3), range(3, 7))], 12)
  assert layout.word_starts(starts).astype(int).tolist() == [
    [0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0]
  ]
  # The second piece of a document that is cut within a word.
  layout = Layout(*cut(np.array([7]), 8), 8)
  assert layout.word_starts(starts).astype(int).tolist() == [
    [0, 1, 1, 0, 0, 1, 0, 0],
    [0, 1, 0, 0, 0, 0, 0, 0],
  ]


def test_no_pairs():
  layout = Layout(*np.empty((2, 0, 2), np.int64), 16)
  assert token_rows(layout, np.empty(0, np.int32)).shape == (0, 16)
  assert layout.labels(np.empty(0, np.int64)).shape[0] == 0
  assert layout.word_starts(np.empty(0, bool)).shape == (0, 16)
