"""Scores of hidden tokens and of texts, against those of one row at a time."""

import math

import numpy as np
import pytest
from other_models import save_folder
from refusals import refusal

import bert_jax
from bert_jax.masked_scoring import HiddenTokens, whole_row

TEXTS = ['the function returns an array', 'array', '', 'values of the matrix']


@pytest.fixture
def model(finished_run):
  return bert_jax.load(finished_run)


def log_probability(model, row, hidden, asked) -> float:
  """Log-probability of the token at `asked`, from one row computed alone."""
  ids = row.copy()
  ids[list(hidden)] = model.tokenizer.table.mask_id
  places = np.array([[asked]], np.int32)
  found = model._mask_probabilities(model._params, ids[None], places)
  return math.log(float(found[0, 0, row[asked]]))


@pytest.mark.parametrize('hidden', ['word', 'token'])
def test_texts(model, hidden):
  """A token is hidden with the rest of its word, or alone."""
  table = model.tokenizer.table
  found = model.score_texts(TEXTS, hidden=hidden)
  some_word_has_parts = False
  for text, score in zip(TEXTS, found, strict=True):
    (ids,) = model.tokenizer.encode_batch([text])
    row = whole_row(ids, table)
    total = 0.0
    for place in range(1, len(row) - 1):
      end = place + 1
      while hidden == 'word' and not table.word_starts[row[end]]:
        end += 1
        some_word_has_parts = True
      total += log_probability(model, row, range(place, end), place)
    assert score.num_tokens == len(ids)
    assert score.log_probability == pytest.approx(total, abs=1e-4)
  assert some_word_has_parts == (hidden == 'word')


def test_rows_of_like_length_together(model):
  """Each row has its own hidden places, in any number and order."""
  table = model.tokenizer.table
  rows = []
  for number, ids in enumerate(model.tokenizer.encode_batch(TEXTS[:2] * 3)):
    row = whole_row(ids, table)
    places = np.arange(1, min(len(row) - 1, 2 + number))
    rows.append(HiddenTokens(row, places, places[::-1]))
  found = model.masked_scorer().log_probabilities(rows)
  for row, part in zip(rows, found, strict=True):
    expected = [
      log_probability(model, row.ids, row.places, asked) for asked in row.asked
    ]
    np.testing.assert_allclose(part, expected, atol=1e-5)
  assert model.masked_scorer().log_probabilities([]) == []


def test_refused(model, tmp_path):
  assert "hidden='all': choose word, token" in (
    refusal(model.score_texts, ['a'], hidden='all')
  )
  long = ' '.join(600 * ['array'])
  assert 'text 2 has ' in refusal(model.score_texts, ['a', long])
  assert "texts='a': give a list" in refusal(model.score_texts, 'a')
  encoder = bert_jax.load(save_folder(tmp_path, 'BertModel'))
  assert 'score_texts needs a model that predicts tokens' in (
    refusal(encoder.score_texts, ['a'])
  )
