"""Entities of a plain text: where its words are, and what labels make."""

import pytest

from bert_jax.tasks.tagged_text import TaggedText, tagged, words_of

NAMES = ['B-LOC', 'I-LOC', 'O']


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('in (New York).', ['in', '(', 'New', 'York', ')', '.']),
    ("  don't\tpay $5,000!!\n", ["don't", 'pay', '$', '5,000', '!', '!']),
    ('... a a', ['.', '.', '.', 'a', 'a']),
    ('हिन्दी, U.S.', ['हिन्दी', ',', 'U.S', '.']),
    ('  ', []),
  ],
)
def test_words(text, words):
  places = words_of(text)
  assert [text[start:end] for start, end in places] == words
  assert places == sorted(places)


def test_entities_and_words():
  text = 'From New York, to Rome.'
  labels = ['O', 'B-LOC', 'I-LOC', 'O', 'O', 'B-LOC', 'O']
  result = {'labels': labels, 'probabilities': [0.5, 0.9, 0.7, *[0.6] * 4]}
  places = words_of(text)
  first, second = tagged(text, places, result, NAMES)
  assert first == TaggedText('New York', 'LOC', 5, 13, pytest.approx(0.8))
  assert second == TaggedText('Rome', 'LOC', 18, 22, 0.6)
  result['labels'] = ['IN', 'NN', 'NN', ',', 'TO', 'NN', '.']
  found = tagged(text, places, result, ['IN', 'NN', ',', 'TO', '.'])
  assert [one.label for one in found] == result['labels']
  assert found[1] == TaggedText('New', 'NN', 5, 8, 0.9)
