"""Bits per byte of hidden words: which are drawn, and what they cost."""

import math
import pathlib
import unicodedata

import numpy as np
import pytest
from refusals import refusal
from scripts import load_script

import bert_jax

SCRIPT = pathlib.Path(__file__).parents[1] / 'experiments' / 'races'
TEXT = 'The FUNCTION returns\nan ﬁne array_of values; 表 ' * 40


@pytest.fixture
def script():
  return load_script(SCRIPT / 'bits_per_byte.py')


def test_the_draw_depends_on_the_text_alone(script):
  """Passages are as long as may be, and hold all of the text, in lower case."""
  script.SHARE = 1.0
  whole = [*script.passages(TEXT)]
  text = ' '.join(passage.text for passage in whole)
  normal = unicodedata.normalize('NFKC', TEXT).lower()
  assert text == ' '.join(normal.split()) and 'fine' in text
  sizes = [len(passage.text.encode()) for passage in whole]
  assert max(sizes) <= 320 and min(sizes[:-1]) > 320 - len('function ')
  words = [p.text[a:b] for p in whole for a, b in p.words]
  assert len(words) == 40 * 9 and {'array', 'of', '表'} < {*words}
  script.SHARE = 0.15
  some = [*script.passages(TEXT)]
  assert some == [*script.passages(TEXT)]
  count = sum(len(passage.words) for passage in some)
  assert 0.1 < count / len(words) < 0.2
  long = [*script.passages(f'array {400 * "b"} of ' + TEXT)]
  assert all('b' * 9 not in passage.text for passage in long)


def test_what_words_cost(script, finished_run):
  """All tokens of a word; 8 bits a byte where one of them is unknown."""
  model = bert_jax.load(finished_run)
  text = 'the function returns 表'
  spans = ((13, 20), (21, 22))
  found = script.score(model, [script.Passage(text, spans)])
  (ids,) = model.tokenizer.encode_batch([text])
  table = model.tokenizer.table
  row = script.whole_row(ids, table)
  starts = [*np.flatnonzero(table.word_starts[row])]
  hidden = [*range(starts[3], starts[4]), len(row) - 2]
  assert row[hidden[-1]] == table.unk_id and len(hidden) > 2
  shown = row.copy()
  shown[hidden] = table.mask_id
  places = np.array([hidden[:-1]], np.int32)
  probabilities = model._mask_probabilities(model._params, shown[None], places)
  right = np.asarray(probabilities)[0, range(len(hidden) - 1), row[hidden[:-1]]]
  expected = -np.log2(right).sum() + 8 * 3
  assert found.bits == pytest.approx(expected, rel=1e-5)
  assert (found.num_bytes, found.num_words, found.num_unknown) == (10, 2, 1)
  assert found.bits_per_byte == pytest.approx(expected / 10, rel=1e-5)


def test_a_uniform_model(script, finished_run, monkeypatch):
  """A uniform model needs log2 V bits for each token."""
  model = bert_jax.load(finished_run)
  scorer = model.masked_scorer()
  size = model.tokenizer.table.vocab_size
  monkeypatch.setattr(
    scorer,
    'log_probabilities',
    lambda rows: [np.full(len(r.asked), -math.log(size)) for r in rows],
  )
  script.PASSAGE_BYTES = 60
  found = [*script.passages('the function returns values ' * 30)]
  drawn = [[p.text[a:b] for a, b in p.words] for p in found]
  ids = model.tokenizer.encode_batch([w for words in drawn for w in words])
  score = script.score(model, found)
  assert score.bits == pytest.approx(math.log2(size) * sum(map(len, ids)))


def test_rows_that_do_not_fit(script, finished_run):
  model = bert_jax.load(finished_run)
  model.experiment.model.max_positions = 8
  found = [*script.passages('the function returns values ' * 9)]
  assert 'do not fit the 8 positions' in refusal(script.score, model, found)
