"""Entities and their figures are seqeval's, on any labels."""

import random
import warnings

import pytest

from bert_jax.tasks import entities

pytestmark = pytest.mark.interop

KINDS = {
  'IOB2': ['O', 'B-x', 'I-x', 'B-y', 'I-y', 'B-x-y', 'I-x-y'],
  'IO': ['O', 'I-x', 'I-y'],
  'IOBES': [f'{p}-{t}' for p in 'BIES' for t in 'xy'] + ['O'],
}


def sentences(labels, seed):
  rng = random.Random(seed)
  lengths = [rng.randint(1, 12) for _ in range(20)]
  return [rng.choices(labels, k=length) for length in lengths]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('seed', range(20))
def test_the_default_mode(kind, seed):
  pytest.importorskip('seqeval')
  from seqeval.metrics import classification_report
  from seqeval.metrics.sequence_labeling import get_entities

  answers = sentences(KINDS[kind], seed)
  guesses = [
    [g if random.Random(seed + i).random() < 0.5 else a for a, g in pair]
    for i, pair in enumerate(
      zip(row, random.Random(i).choices(KINDS[kind], k=len(row)), strict=True)
      for i, row in enumerate(answers)
    )
  ]
  for row in answers + guesses:
    assert entities.found(row) == get_entities(row)
  assert_same(
    entities.scores(answers, guesses), classification_report, answers, guesses
  )


@pytest.mark.parametrize('seed', range(20))
def test_the_strict_mode(seed):
  pytest.importorskip('seqeval')
  from seqeval.metrics import classification_report
  from seqeval.scheme import IOB2

  labels = KINDS['IOB2']
  answers = sentences(labels, seed)
  guesses = [
    random.Random(seed + i).choices(labels, k=len(row))
    for i, row in enumerate(answers)
  ]
  found = entities.scores(answers, guesses, entities.found_strictly)
  assert_same(
    *(found, classification_report, answers, guesses),
    mode='strict',
    scheme=IOB2,
  )


def assert_same(found, classification_report, answers, guesses, **options):
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    report = classification_report(
      answers, guesses, output_dict=True, zero_division=0, **options
    )
  theirs = {'per_class': {}}
  for name, row in report.items():
    row = {
      'precision': row['precision'],
      'recall': row['recall'],
      'f1': row['f1-score'],
      'support': row['support'],
    }
    if name == 'micro avg':
      theirs |= {n: row[n] for n in ('precision', 'recall', 'f1')}
    elif not name.endswith(' avg'):
      theirs['per_class'][name] = row
  assert found['per_class'].keys() == theirs['per_class'].keys()
  for name in ('precision', 'recall', 'f1'):
    assert found[name] == pytest.approx(theirs[name])
  for kind, row in theirs['per_class'].items():
    assert found['per_class'][kind] == pytest.approx(row)
