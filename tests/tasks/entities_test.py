"""Entities and their figures, by hand; tests/interop has seqeval's."""

import pytest

from bert_jax.tasks import entities


@pytest.mark.parametrize(
  ('labels', 'lenient', 'strict'),
  [
    ('O B-P I-P O', [('P', 1, 2)], [('P', 1, 2)]),
    ('B-P B-P I-P', [('P', 0, 0), ('P', 1, 2)], [('P', 0, 0), ('P', 1, 2)]),
    ('I-P I-P O I-Q', [('P', 0, 1), ('Q', 3, 3)], []),
    ('B-P I-Q I-Q', [('P', 0, 0), ('Q', 1, 2)], [('P', 0, 0)]),
    ('B-P I-Q I-P', [('P', 0, 0), ('Q', 1, 1), ('P', 2, 2)], [('P', 0, 0)]),
    ('B-P O I-P', [('P', 0, 0), ('P', 2, 2)], [('P', 0, 0)]),
    ('B-a-b I-a-b', [('a-b', 0, 1)], [('a-b', 0, 1)]),
    ('O O', [], []),
  ],
)
def test_the_entities_of_a_sentence(labels, lenient, strict):
  assert entities.found(labels.split()) == lenient
  assert entities.found_strictly(labels.split()) == strict


def test_ends_and_single_words():
  labels = 'S-P B-P E-P I-P E-P E-P'.split()
  assert entities.found(labels) == [
    ('P', 0, 0),
    ('P', 1, 2),
    ('P', 3, 4),
    ('P', 5, 5),
  ]


def test_bmes():
  """M- goes on with an entity as I- does."""
  labels = 'B-P M-P M-P E-P S-P O B-Q E-Q'.split()
  assert entities.are_entities(labels) and not entities.are_iob2(labels)
  assert entities.found(labels) == [('P', 0, 3), ('P', 4, 4), ('Q', 6, 7)]


@pytest.mark.parametrize(
  ('labels', 'scheme', 'places'),
  [
    ('O B-P I-P O B-P', 'IOB2', []),
    ('I-P O B-P I-Q B-P', 'IOB2', [0, 3]),
    # Without a B- this is IOB1, which any sequence follows.
    ('I-P O I-Q I-P', 'IOB1', []),
    ('B-P M-P E-P S-P O', 'BIOES', []),
    ('B-P O E-P S-P B-P', 'BIOES', [1, 2, 4]),
    ('B-P E-Q S-P', 'BIOES', [1]),
    ('I-P S-P', 'BIOES', [0, 1]),
  ],
)
def test_out_of_order(labels, scheme, places):
  labels = labels.split()
  assert entities.scheme([labels]) == scheme
  assert entities.out_of_order(labels, scheme) == places


def test_figures():
  """Two of three are found, one with a wrong end, one that is none."""
  answers = ['B-P I-P O B-Q'.split(), 'B-P O O'.split()]
  guesses = ['B-P I-P O B-Q'.split(), 'B-P I-P B-Q'.split()]
  found = entities.scores(answers, guesses)
  assert found['precision'] == 2 / 4 and found['recall'] == 2 / 3
  assert found['f1'] == pytest.approx(4 / 7)
  assert found['per_class'] == {
    'P': {'precision': 0.5, 'recall': 0.5, 'f1': 0.5, 'support': 2},
    'Q': {'precision': 0.5, 'recall': 1.0, 'f1': 2 / 3, 'support': 1},
  }


def test_nothing_to_divide_by():
  found = entities.scores([['O']], [['O']])
  assert found['f1'] == found['precision'] == found['recall'] == 0.0
  assert found['per_class'] == {}


@pytest.mark.parametrize(
  ('labels', 'are_entities', 'are_iob2'),
  [
    ('O B-P I-P', True, True),
    ('O I-P', True, False),
    ('S-P B-P E-P O', True, False),
    ('O', False, False),
    ('NOUN VERB', False, False),
    ('O L-P U-P', False, False),
    ('B- O', False, False),
  ],
)
def test_schemes(labels, are_entities, are_iob2):
  assert entities.are_entities(labels.split()) == are_entities
  assert entities.are_iob2(labels.split()) == are_iob2
