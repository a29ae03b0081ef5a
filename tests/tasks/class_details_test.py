"""Calibration, hits and worst errors of class probabilities."""

import numpy as np
import pytest

from bert_jax.config.json_decoder import Decoder
from bert_jax.data.examples import LABELS, TEXTS, Examples
from bert_jax.tasks import class_details

NAMES = ['no', 'yes']


def examples(texts):
  return Examples(
    columns={TEXTS: [(text,) for text in texts], LABELS: ['no'] * len(texts)},
    origins=[f'/a/b/eval.tsv:{n}' for n in range(len(texts))],
  )


def found(probabilities_of_yes, labels, texts=None):
  yes = np.array(probabilities_of_yes, np.float32)
  texts = texts or ['text'] * len(yes)
  log_probabilities = np.log(np.stack([1 - yes, yes], axis=1))
  return class_details.details(
    log_probabilities, np.array(labels, np.int32), NAMES, examples(texts)
  )


def test_calibration():
  """Two of four right at 0.9, and one of one at 0.65; by hand."""
  details = found([0.9, 0.9, 0.1, 0.1, 0.65], [1, 0, 0, 1, 1])
  assert details['hits'] == '10101'
  assert [one['count'] for one in details['bins']] == [1, 4]
  assert [one['accuracy'] for one in details['bins']] == [1.0, 0.5]
  assert details['bins'][1]['probability'] == pytest.approx(0.9)
  assert details['ece'] == pytest.approx(4 / 5 * 0.4 + 1 / 5 * 0.35)


def test_a_certain_model_is_in_the_last_bin():
  with np.errstate(divide='ignore'):
    details = found([1.0, 1.0], [1, 1])
  assert details['bins'] == [{'count': 2, 'probability': 1.0, 'accuracy': 1.0}]
  assert details['ece'] == 0


def test_worst_errors_come_first_and_are_cut():
  """A class that the model does not know is wrong, and has no loss."""
  of_yes = [0.5 + n / 40 for n in range(12)]
  texts = [f'{n} {"x" * 500}\ud800' for n in range(11)] + ['short \ud800']
  details = found(of_yes, [0] * 11 + [-1], texts)
  assert details['hits'][-1] == '0'
  worst = details['worst']
  assert [one['origin'] for one in worst] == [
    f'eval.tsv:{n}' for n in range(10, 0, -1)
  ]
  assert worst[0]['text'].startswith('10 xxx') and len(worst[0]['text']) == 200
  assert (worst[0]['true'], worst[0]['predicted']) == ('no', 'yes')
  assert worst[0]['probability_of_predicted'] == pytest.approx(0.75)
  assert worst[0]['probability_of_true'] == pytest.approx(0.25)
  # The report reads them so.
  shape = class_details.ClassDetails
  Decoder(where='results.json', fix='-').decode(details, shape)
  short = found([0.9], [0], ['short \ud800'])
  assert short['worst'][0]['text'] == 'short ?'
