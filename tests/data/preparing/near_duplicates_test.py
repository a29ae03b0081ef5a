"""Near duplicates: those that are as similar as asked, the first one kept."""

import random
import tracemalloc

import pytest

from bert_jax.data.preparing.duplicates import Maker, Repeats
from bert_jax.data.preparing.filters import FilterOptions, filtered
from bert_jax.data.preparing.near_duplicates import (
  BYTES_PER_DOCUMENT,
  check_threshold,
)
from bert_jax.data.sources import open_inputs
from bert_jax.data.sources.base import ReadReport
from bert_jax.errors import InputError

NUM_WORDS = 300
CHANGES = (1, 2, 3, 5, 10, 20, 30, 50)  # of the words


def text(seed: int) -> list[str]:
  generator = random.Random(seed)
  return [f'w{generator.randrange(50_000)}' for _ in range(NUM_WORDS)]


def with_other_words(words: list[str], count: int, seed: int) -> list[str]:
  words = list(words)
  for place in random.Random(seed).sample(range(len(words)), count):
    words[place] = f'other{place}'
  return words


def similarity(first: list[str], second: list[str]) -> float:
  """Jaccard of the runs of five words, by its definition."""
  sides = [
    {tuple(words[i : i + 5]) for i in range(len(words) - 4)}
    for words in (first, second)
  ]
  return len(sides[0] & sides[1]) / len(sides[0] | sides[1])


def is_new(found, text):
  (reason,) = found(Maker(False, 0.8)([text]))
  return not reason


@pytest.mark.parametrize('threshold', [0.5, 0.8])
def test_decides_as_the_similarity_by_definition(threshold):
  """Where that is 0.12 or more away from the threshold: 3 standard errors."""
  decided = {True: 0, False: 0}
  for seed in range(60):
    first = text(seed)
    second = with_other_words(first, CHANGES[seed % 8], seed)
    exact = similarity(first, second)
    if abs(exact - threshold) < 0.12:
      continue
    found = Repeats(False, threshold)
    assert is_new(found, ' '.join(first))
    assert is_new(found, ' '.join(second)) == (exact < threshold), exact
    decided[exact < threshold] += 1
  assert min(decided.values()) >= 8, decided


def test_among_many_the_first_is_kept(tmp_path):
  originals = [text(seed) for seed in range(50)]
  lines = originals + [with_other_words(w, 1, 0) for w in originals[:20]]
  random.Random(0).shuffle(lines)
  path = tmp_path / 'text.txt'
  path.write_text('\n'.join(' '.join(words) for words in lines))
  report = ReadReport()
  source = filtered(
    open_inputs(str(path), document='line'), FilterOptions(near_duplicates=0.8)
  )
  kept = [document.text.split() for document in source.documents(report)]
  assert report.counts == {'near_duplicates': 20}
  firsts = []
  for words in lines:
    if all(similarity(words, earlier) < 0.8 for earlier in firsts):
      firsts.append(words)
  assert kept == firsts


def test_case_punctuation_and_spaces_make_no_difference():
  found = Repeats(False, 1.0)
  assert is_new(found, 'The quick brown fox, and the lazy dog.')
  assert not is_new(found, 'the  Quick brown (fox) and the\nlazy dog')
  assert is_new(found, 'The quick brown fox, and the lazy cat.')


def test_unspaced_writing_is_compared_by_characters():
  sentence = '我们今天在公园里看到了许多美丽的花朵和高大的树木还有孩子们'
  found = Repeats(False, 0.7)
  assert is_new(found, sentence)
  assert not is_new(found, sentence + '。')
  assert not is_new(found, sentence[:-1])
  assert is_new(found, sentence[::-1])


def test_short_texts_and_texts_without_a_word():
  found = Repeats(False, 0.8)
  assert [is_new(found, t) for t in ('a b', 'a b', 'a c')] == [
    True,
    False,
    True,
  ]
  assert [is_new(found, t) for t in ('', '--', '')] == [True, True, True]


def test_takes_the_memory_that_is_stated():
  found = Repeats(False, 0.8)
  texts = [' '.join(text(seed)[:50]) for seed in range(500)]
  is_new(found, 'what is loaded or made once')
  tracemalloc.start()
  try:
    before, _ = tracemalloc.get_traced_memory()
    for one in texts:
      is_new(found, one)
    after, _ = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  share = (after - before) / len(texts) / BYTES_PER_DOCUMENT
  assert 0.7 < share <= 1, share


@pytest.mark.parametrize('threshold', [-0.5, 0.01, 1.5, float('nan')])
def test_what_is_no_similarity_is_refused(threshold):
  with pytest.raises(InputError, match='--near_duplicates='):
    check_threshold(threshold)
