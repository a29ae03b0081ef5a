"""Pairs drawn from documents: by Google's rules, every token counted."""

import random

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from bert_jax.data.preparing import pairs
from bert_jax.data.preparing.pairs import draw
from bert_jax.data.side_files import NEXT_SENTENCE, PAIR_KINDS, SENTENCE_ORDER
from bert_jax.errors import InputError

SEED = bytes(32)


class Numbers:
  """What Google's code asks of `random`, from `random()` alone."""

  def __init__(self, seed):
    self.random = random.Random(int.from_bytes(seed, 'big')).random

  def randint(self, low, high):
    return low + int(self.random() * (high - low + 1))


def googles_pairs(all_documents, max_num_tokens, rng, random_next_sentence):
  """(tokens of A, of B, label), after create_instances_from_document.

  Of create_pretraining_data.py, google-research/bert and (sentence order)
  google-research/albert. Different from there: another document is drawn among
  the others at once, not anew until it is another.
  """
  found = []
  for document_index, document in enumerate(all_documents):
    target_seq_length = max_num_tokens
    if rng.random() < 0.1:
      target_seq_length = rng.randint(2, max_num_tokens)
    current_chunk = []
    current_length = 0
    i = 0
    while i < len(document):
      current_chunk.append(document[i])
      current_length += len(document[i])
      if i == len(document) - 1 or current_length >= target_seq_length:
        a_end = 1
        if len(current_chunk) >= 2:
          a_end = rng.randint(1, len(current_chunk) - 1)
        tokens_a = sum(current_chunk[:a_end], [])
        tokens_b = []
        is_random_next = False
        if len(current_chunk) == 1 or (
          random_next_sentence and rng.random() < 0.5
        ):
          is_random_next = True
          target_b_length = target_seq_length - len(tokens_a)
          random_document_index = rng.randint(0, len(all_documents) - 2)
          if random_document_index >= document_index:
            random_document_index += 1
          random_document = all_documents[random_document_index]
          random_start = rng.randint(0, len(random_document) - 1)
          for j in range(random_start, len(random_document)):
            tokens_b.extend(random_document[j])
            if len(tokens_b) >= target_b_length:
              break
          i -= len(current_chunk) - a_end
        elif not random_next_sentence and rng.random() < 0.5:
          is_random_next = True
          tokens_b = tokens_a
          tokens_a = sum(current_chunk[a_end:], [])
        else:
          tokens_b = sum(current_chunk[a_end:], [])
        truncate_seq_pair(tokens_a, tokens_b, max_num_tokens, rng)
        found.append((tokens_a, tokens_b, int(is_random_next)))
        current_chunk = []
        current_length = 0
      i += 1
  return found


def truncate_seq_pair(tokens_a, tokens_b, max_num_tokens, rng):
  while len(tokens_a) + len(tokens_b) > max_num_tokens:
    longer = tokens_a if len(tokens_a) > len(tokens_b) else tokens_b
    if rng.random() < 0.5:
      del longer[0]
    else:
      longer.pop()


def documents_of(lengths):
  """[[sentence]] with token i of all of them for each i, and their ends."""
  total = sum(map(sum, lengths))
  tokens = iter(range(total))
  texts = [[[next(tokens) for _ in range(n)] for n in one] for one in lengths]
  return texts, [np.cumsum(one).tolist() for one in lengths]


def drawn_texts(found):
  return [
    (
      list(range(starts[0], starts[0] + lengths[0])),
      list(range(starts[1], starts[1] + lengths[1])),
      label,
    )
    for starts, lengths, label in zip(
      found.starts.tolist(),
      found.lengths.tolist(),
      found.labels.tolist(),
      strict=True,
    )
  ]


blocks = st.lists(
  st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=2, max_size=8
)


@hypothesis.given(blocks, st.integers(5, 60), st.integers(0, 99))
@hypothesis.settings(max_examples=150, deadline=None)
def test_next_sentence_is_what_googles_code_draws(lengths, max_tokens, number):
  texts, ends = documents_of(lengths)
  seed = pairs.seed(number)
  expected = googles_pairs(texts, max_tokens, Numbers(seed), True)
  assert drawn_texts(draw(ends, max_tokens, NEXT_SENTENCE, seed)) == expected


@hypothesis.given(blocks, st.integers(5, 60), st.integers(0, 99))
@hypothesis.settings(max_examples=150, deadline=None)
def test_sentence_order_is_what_googles_code_draws(lengths, max_tokens, number):
  """Up to the first chunk of a single sentence, where we differ."""
  texts, ends = documents_of(lengths)
  seed = pairs.seed(number)
  expected = googles_pairs(texts, max_tokens, Numbers(seed), False)
  found = drawn_texts(draw(ends, max_tokens, SENTENCE_ORDER, seed))
  sentence = np.repeat(
    np.arange(sum(map(len, lengths))), np.concatenate(lengths)
  )
  same = True
  for (a, b, label), theirs in zip(found, expected, strict=False):
    same = same and sentence[min(a + b)] != sentence[max(a + b)]
    # It draws another document where ours cuts the sentence.
    same = same and {theirs[0][0], theirs[1][0]} == {a[0], b[0]}
    if not same:
      break
    assert (a, b, label) == theirs
  # Whatever the chunk, the parts follow each other but for truncation.
  for a, b, label in found:
    first, second = (b, a) if label else (a, b)
    assert first[-1] < second[0]


@pytest.mark.parametrize('kind', PAIR_KINDS)
@hypothesis.given(lengths=blocks, max_tokens=st.integers(5, 60))
@hypothesis.settings(max_examples=60, deadline=None)
def test_every_token_is_counted(kind, lengths, max_tokens):
  total = sum(map(sum, lengths))
  found = draw(documents_of(lengths)[1], max_tokens, kind, SEED)
  counts = found.counts
  assert (found.lengths >= 1).all()
  assert (found.lengths.sum(axis=1) <= max_tokens).all()
  assert found.lengths.sum() == (
    total
    + counts['borrowed_tokens']
    - counts['truncated_tokens']
    - counts['unpaired_tokens']
  )
  assert found.labels.sum() == counts['label_1']
  if kind == SENTENCE_ORDER:
    assert counts['borrowed_tokens'] == 0
    places = [
      i
      for start, length in zip(
        found.starts.reshape(-1), found.lengths.reshape(-1), strict=True
      )
      for i in range(start, start + length)
    ]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize('kind', PAIR_KINDS)
def test_half_of_the_pairs_have_label_1(kind):
  rng = np.random.default_rng(0)
  lengths = [rng.integers(5, 20, 60).tolist() for _ in range(60)]
  found = draw(documents_of(lengths)[1], 100, kind, SEED)
  # A chunk cut short by the end of its document may have one sentence alone.
  assert len(found.labels) > 300
  assert abs(found.labels.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(found.labels))


def test_b_of_label_1_comes_from_another_document():
  lengths = [[5] * 10] * 9
  found = draw(documents_of(lengths)[1], 30, NEXT_SENTENCE, SEED)
  documents = found.starts // 50
  np.testing.assert_array_equal(
    documents[:, 0] != documents[:, 1], found.labels == 1
  )


def test_a_document_alone_has_no_random_next():
  # Chunks of two sentences, and a last one of a single sentence.
  found = draw([[10, 20, 30]], 20, NEXT_SENTENCE, pairs.seed(0))
  assert found.labels.tolist() == [0]
  assert found.counts['unpaired_tokens'] == 10
  found = draw([[10]], 20, NEXT_SENTENCE, SEED)
  assert found.starts.shape == found.lengths.shape == (0, 2)
  assert found.counts['unpaired_tokens'] == 10


def test_a_single_sentence_is_cut_for_sentence_order():
  found = draw([[10], [1]], 20, SENTENCE_ORDER, SEED)
  assert found.lengths.sum() == 10 and len(found.labels) == 1
  assert found.counts['unpaired_tokens'] == 1


def test_the_seed_decides():
  lengths = [[5] * 10] * 9
  first, same, other = (
    draw(documents_of(lengths)[1], 30, NEXT_SENTENCE, pairs.seed(*key))
    for key in (('a', 128), ('a', 128), ('a', 512))
  )
  for mine, theirs in zip(first[:3], same[:3], strict=True):
    np.testing.assert_array_equal(mine, theirs)
  assert (
    first.starts.shape != other.starts.shape
    or (first.starts != other.starts).any()
  )


def test_the_numbers_are_those_of_every_version():
  """Of Python, so that a corpus has the same bytes on all of them."""
  found = draw([[4, 9, 12, 20], [3, 8, 11], [6]], 12, NEXT_SENTENCE, SEED)
  assert found.starts.tolist() == [
    [1, 23],
    [9, 31],
    [12, 31],
    [20, 28],
    [31, 20],
  ]
  assert found.lengths.tolist() == [[7, 5], [3, 6], [6, 6], [8, 3], [6, 6]]
  assert found.labels.tolist() == [1, 1, 1, 0, 1]


def flags(length, *places):
  found = np.zeros(length, bool)
  found[[0, *places]] = True
  return found


@pytest.mark.parametrize(
  'length, lines, sentences, max_tokens, expected',
  [
    # Lines are sentences, whatever their marks say.
    (20, (8, 14), (4, 8, 14), 10, [8, 14, 20]),
    # One line is cut at its marks.
    (20, (), (4, 14), 30, [4, 14, 20]),
    # So is a line that is longer than a pair, and it alone.
    (20, (5,), (2, 5, 9, 12), 10, [5, 9, 12, 20]),
    # What is longer still, into equal pieces of half a pair at most.
    (25, (3,), (), 10, [3, 7, 11, 16, 20, 25]),
    (10, (), (), 10, [10]),
    (11, (), (), 10, [3, 7, 11]),
    (1, (), (), 5, [1]),
  ],
)
def test_sentences(length, lines, sentences, max_tokens, expected):
  line_starts = flags(length, *lines)
  sentence_starts = flags(length, *lines, *sentences)
  found = pairs.sentence_ends(line_starts, sentence_starts, max_tokens)
  assert found == expected


def test_kinds():
  pairs.check_kind('')
  with pytest.raises(InputError, match="--pairs='nsp': give one of next_sent"):
    pairs.check_kind('nsp')
