"""Figures of classification, also where a class is missing."""

import json
import statistics
import warnings

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from bert_jax.tasks import metrics


def _random_case(seed: int, num_classes: int) -> tuple:
  """Labels of uneven classes, and predictions that are right half the time."""
  rng = np.random.default_rng(seed)
  labels = rng.choice(num_classes, 200, p=rng.dirichlet([1.0] * num_classes))
  guesses = rng.integers(num_classes, size=200)
  predictions = np.where(rng.random(200) < 0.5, labels, guesses)
  return labels, predictions, num_classes


CASES = {
  'two_classes': _random_case(0, 2),
  'three_classes': _random_case(1, 3),
  'eight_classes': _random_case(2, 8),
  'never_predicted': (np.array([0, 1, 2, 2, 1]), np.array([0, 1, 1, 0, 1]), 3),
  'absent_label': (np.array([0, 1, 0, 1, 1]), np.array([2, 1, 0, 1, 2]), 3),
  'absent_in_both': (np.array([0, 3, 3, 0]), np.array([0, 3, 0, 0]), 5),
  'last_class_absent': (np.array([0, 1, 1]), np.array([0, 1, 0]), 4),
  'one_prediction': (np.array([0, 1, 2, 1]), np.array([1, 1, 1, 1]), 3),
  'one_label': (np.array([1, 1, 1, 1]), np.array([0, 1, 2, 1]), 3),
  'constant_and_right': (np.array([1, 1, 1]), np.array([1, 1, 1]), 2),
  'all_right': (np.arange(12) % 4, np.arange(12) % 4, 4),
  'all_wrong': (np.array([0, 1, 0, 1]), np.array([1, 0, 1, 0]), 2),
  'one_example': (np.array([0]), np.array([1]), 2),
  'small_dtype': (
    np.arange(200, dtype=np.uint8),
    np.arange(200, dtype=np.uint8)[::-1],
    200,
  ),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request) -> tuple[np.ndarray, np.ndarray, int]:
  return request.param


def counts(labels, predictions, num_classes):
  """Confusion counts, one pair at a time."""
  found = np.zeros((num_classes, num_classes), int)
  for label, prediction in zip(labels, predictions, strict=True):
    found[label, prediction] += 1
  return found


def matthews(labels, predictions, num_classes):
  """Gorodkin's R_K by its definition: a correlation of indicator vectors."""
  x, y = (np.eye(num_classes)[one] for one in (labels, predictions))
  x, y = x - x.mean(axis=0), y - y.mean(axis=0)
  spread = np.sum(x * x) * np.sum(y * y)
  return np.sum(x * y) / np.sqrt(spread) if spread > 1e-12 else 0.0


def test_classification_report_holds_every_figure(case):
  labels, predictions, num_classes = case
  names = [f'class {index}' for index in range(num_classes)]
  report = metrics.classification_report(labels, predictions, names)
  assert json.loads(json.dumps(report)) == report
  assert list(report['per_class']) == names
  expected = sklearn_metrics.classification_report(
    labels,
    predictions,
    labels=range(num_classes),
    target_names=names,
    output_dict=True,
    zero_division=0,
  )
  for name in names:
    assert report['per_class'][name] == pytest.approx(
      {
        'precision': expected[name]['precision'],
        'recall': expected[name]['recall'],
        'f1': expected[name]['f1-score'],
        'support': expected[name]['support'],
      }
    )
  assert report['accuracy'] == np.mean(labels == predictions)
  assert report['confusion'] == counts(*case).tolist()
  occurs = set(labels) | set(predictions)
  f1 = [report['per_class'][names[one]]['f1'] for one in occurs]
  assert report['macro_f1'] == pytest.approx(np.mean(f1), abs=1e-12)
  assert report['matthews'] == pytest.approx(matthews(*case), abs=1e-12)


@pytest.mark.parametrize('name', ['one_label', 'constant_and_right'])
def test_one_class_alone_gives_no_warning(name):
  labels, predictions, num_classes = CASES[name]
  names = [str(one) for one in range(num_classes)]
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    report = metrics.classification_report(labels, predictions, names)
  assert report['matthews'] == 0.0


def test_class_never_predicted_scores_zero():
  labels, predictions, _ = CASES['never_predicted']
  report = metrics.classification_report(labels, predictions, ['a', 'b', 'c'])
  assert report['per_class']['c'] == {
    'precision': 0.0,
    'recall': 0.0,
    'f1': 0.0,
    'support': 2,
  }


def test_matthews_of_many_examples_does_not_overflow():
  # n**2 alone is 4e12 here; the product of both variances passes 2**63.
  labels = np.tile(np.array([0, 0, 1, 1]), 500_000)
  predictions = np.tile(np.array([0, 0, 1, 0]), 500_000)
  few, many = (
    metrics.classification_report(labels[:n], predictions[:n], ['a', 'b'])
    for n in (4, len(labels))
  )
  assert many['matthews'] == pytest.approx(few['matthews'])


def test_mean_and_std_of_a_sample():
  values = [0.81, 0.84, 0.79]
  summary = metrics.mean_and_std(values)
  assert summary.mean == pytest.approx(statistics.mean(values))
  assert summary.std == pytest.approx(statistics.stdev(values))


def test_one_run_has_no_spread():
  assert metrics.mean_and_std([0.9]) == (0.9, 0.0)


def test_one_name_for_two_classes_is_refused():
  with pytest.raises(ValueError, match='a.*more than once'):
    metrics.classification_report(
      np.array([0, 1]), np.array([0, 1]), ['a', 'a']
    )


def test_no_runs_are_refused():
  with pytest.raises(ValueError, match='values has shape'):
    metrics.mean_and_std([])
