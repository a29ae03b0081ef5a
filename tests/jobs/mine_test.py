"""Hard negatives: which documents are chosen, and which are not."""

import json

import numpy as np
import pytest
from other_models import save_folder
from other_process import said
from refusals import refusal

import bert_jax
from bert_jax.data.examples import examples_of
from bert_jax.jobs.mine import Mining, mine

# Angles of texts in a circle, in degrees: a cosine falls with the distance.
ANGLES = {
  'q': 0,
  'r': 90,
  'right': 20,
  'near': 19,
  '2nd': 30,
  '3rd': 40,
  'far': 95,
}


class Circle:
  """An encoder whose vectors are places in a circle, not of length 1."""

  def window(self, texts, first, cut):
    del first, cut
    angles = np.radians([ANGLES[text] for text in texts])
    return 3 * np.stack([np.cos(angles), np.sin(angles)], 1).astype('f4'), 0


def mined(pairs, more, **options):
  return mine(Circle(), examples_of(pairs), more, Mining(**options), cut=False)


PAIRS = [('q', 'right'), ('r', 'far'), ('q', ' 2nd')]


def test_choice():
  """No positive of the anchor, none nearly as near; nearest first."""
  found = mined(PAIRS, ['near', '3rd'], num_negatives=2)
  assert found.records == [
    {
      'anchor': 'q',
      'positive': 'right',
      'negative_1': '3rd',
      'negative_2': 'far',
    },
    {
      'anchor': 'r',
      'positive': 'far',
      'negative_1': '3rd',
      'negative_2': '2nd',
    },
    {
      'anchor': 'q',
      'positive': ' 2nd',
      'negative_1': '3rd',
      'negative_2': 'far',
    },
  ]
  # `near` is nearer to q than both its positives.
  assert (found.num_without, found.num_near) == (0, 2)
  cosine = np.cos(np.radians([20, 5, 30, 40, 95, 50, 60, 40, 95]))
  np.testing.assert_allclose(
    found.mean_scores, (cosine[:3].mean(), cosine[3:].mean()), rtol=1e-5
  )


def test_options():
  """A wider margin, and documents that are passed over."""
  wide = mined(PAIRS, ['3rd'], num_negatives=1, relative_margin=0.2)
  assert [r['negative_1'] for r in wide.records] == ['far', '3rd', 'far']
  low = mined(PAIRS, ['3rd'], num_negatives=1, max_score=0.7)
  assert [r['negative_1'] for r in low.records] == ['far', '3rd', 'far']
  passed = mined(PAIRS, ['3rd'], num_negatives=1, range_min=1, range_max=2)
  assert [r['negative_1'] for r in passed.records] == ['far', '2nd', 'far']
  few = mined(PAIRS, [], num_negatives=2)
  assert [r['anchor'] for r in few.records] == ['r'] and few.num_without == 2


@pytest.mark.parametrize(
  'options,message',
  [
    (
      dict(num_negatives=9),
      'none of 3 pairs has 9 negatives among 3 documents',
    ),
    (dict(num_negatives=0), '--num_negatives=0: give 1 or more'),
    (dict(range_max=2), 'with room for --num_negatives=3'),
    (dict(relative_margin=1.0), '--relative_margin=1.0: give a number from 0'),
  ],
)
def test_refused(options, message):
  assert message in refusal(mined, PAIRS, [], **options)


def test_an_empty_text():
  assert 'text 2: a text is empty' in refusal(mined, [PAIRS[0], ('q', '')], [])


def test_the_verb(tmp_path):
  folder = save_folder(tmp_path / 'bert', 'BertModel')
  rows = ['anchor\tpositive', 'a b\ta c', 'x\ty', 'z\tx y']
  (tmp_path / 'pairs.tsv').write_text('\n'.join(rows) + '\n')
  (tmp_path / 'more.tsv').write_text('text\nb b\nc y\n')
  words = [
    'mine',
    f'--workdir={folder}',
    '--input=pairs.tsv',
    '--output=out.jsonl',
  ]
  text = said(
    tmp_path,
    *words,
    '--corpus=more.tsv',
    '--num_negatives=1',
    '--relative_margin=0',
  )
  assert 'cosine with the anchor: ' in text
  lines = (tmp_path / 'out.jsonl').read_text().splitlines()
  assert f'{len(lines)} pairs with 1 negatives each in out.jsonl' in text
  model = bert_jax.load(folder)
  for line in map(json.loads, lines):
    right, wrong = model.similarity(
      [line['anchor']], [line['positive'], line['negative_1']]
    )[0]
    assert wrong <= right
  text = said(
    tmp_path, *words, '--corpus=more.tsv', '--corpus_column=t', status=2
  )
  assert "there is no column 't'" in text and '--corpus_column' in text
