"""Our metrics equal scikit-learn's, also where a class is missing."""

import json
import statistics

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


def test_accuracy(case):
  labels, predictions, _ = case
  expected = sklearn_metrics.accuracy_score(labels, predictions)
  assert metrics.accuracy(*case) == pytest.approx(expected, abs=1e-12)


def test_macro_f1(case):
  labels, predictions, _ = case
  expected = sklearn_metrics.f1_score(
    labels, predictions, average='macro', zero_division=0
  )
  assert metrics.macro_f1(*case) == pytest.approx(expected, abs=1e-12)


# scikit-learn warns where all labels are one class; that case is meant here.
@pytest.mark.filterwarnings('ignore:A single label was found')
def test_matthews(case):
  labels, predictions, _ = case
  expected = sklearn_metrics.matthews_corrcoef(labels, predictions)
  assert metrics.matthews(*case) == pytest.approx(expected, abs=1e-12)


def test_class_scores(case):
  labels, predictions, num_classes = case
  expected = sklearn_metrics.precision_recall_fscore_support(
    labels, predictions, labels=range(num_classes), zero_division=0
  )
  scores = metrics.class_scores(*case)
  np.testing.assert_allclose(scores.precision, expected[0], atol=1e-12)
  np.testing.assert_allclose(scores.recall, expected[1], atol=1e-12)
  np.testing.assert_allclose(scores.f1, expected[2], atol=1e-12)
  np.testing.assert_array_equal(scores.support, expected[3])


@pytest.mark.filterwarnings('ignore:A single label was found')
def test_confusion_matrix(case):
  labels, predictions, num_classes = case
  expected = sklearn_metrics.confusion_matrix(
    labels, predictions, labels=range(num_classes)
  )
  confusion = metrics.confusion_matrix(*case)
  np.testing.assert_array_equal(confusion, expected)


def test_class_never_predicted_scores_zero():
  labels, predictions, num_classes = CASES['never_predicted']
  scores = metrics.class_scores(labels, predictions, num_classes)
  assert (scores.precision[2], scores.recall[2], scores.f1[2]) == (0, 0, 0)
  assert scores.support[2] == 2


def test_matthews_of_many_examples_does_not_overflow():
  # n**2 alone is 4e12 here; the product of both variances passes 2**63.
  labels = np.tile(np.array([0, 0, 1, 1]), 500_000)
  predictions = np.tile(np.array([0, 0, 1, 0]), 500_000)
  few = metrics.matthews(labels[:4], predictions[:4], 2)
  assert metrics.matthews(labels, predictions, 2) == pytest.approx(few)


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
  assert report['accuracy'] == metrics.accuracy(*case)
  assert report['macro_f1'] == metrics.macro_f1(*case)
  assert report['matthews'] == metrics.matthews(*case)
  assert report['confusion'] == metrics.confusion_matrix(*case).tolist()


def test_mean_and_std_of_a_sample():
  values = [0.81, 0.84, 0.79]
  summary = metrics.mean_and_std(values)
  assert summary.mean == pytest.approx(statistics.mean(values))
  assert summary.std == pytest.approx(statistics.stdev(values))


def test_one_run_has_no_spread():
  assert metrics.mean_and_std([0.9]) == (0.9, 0.0)
  assert metrics.pooled_standard_deviation([0.9], [0.2]) == 0.0


def test_pooled_standard_deviation_weighs_by_degrees_of_freedom():
  a, b = [1.0, 2.0, 3.0, 6.0], [10.0, 14.0]
  expected = (3 * statistics.variance(a) + 1 * statistics.variance(b)) / 4
  pooled = metrics.pooled_standard_deviation(a, b)
  assert pooled**2 == pytest.approx(expected)


def test_pooled_standard_deviation_ignores_the_distance_of_the_means():
  near = metrics.pooled_standard_deviation([1.0, 2.0], [1.0, 3.0])
  far = metrics.pooled_standard_deviation([1.0, 2.0], [101.0, 103.0])
  assert near == pytest.approx(far)


@pytest.mark.parametrize(
  ('labels', 'predictions', 'named'),
  [
    ([], [], 'labels has shape'),
    ([0, 1], [0], 'labels has 2 entries and predictions 1'),
    ([0, 3], [0, 1], 'labels has class 3; classes are 0 to 2'),
    ([0, 1], [0, -1], 'predictions has class -1'),
    ([0, 1], [0.0, 1.0], 'predictions is float64'),
    ([[0], [1]], [0, 1], 'labels has shape'),
  ],
)
def test_wrong_arrays_are_named(labels, predictions, named):
  with pytest.raises(ValueError, match=named):
    metrics.accuracy(np.array(labels), np.array(predictions), 3)


def test_one_name_for_two_classes_is_refused():
  with pytest.raises(ValueError, match='a.*more than once'):
    metrics.classification_report(
      np.array([0, 1]), np.array([0, 1]), ['a', 'a']
    )


def test_no_runs_are_refused():
  with pytest.raises(ValueError, match='values has shape'):
    metrics.mean_and_std([])
  with pytest.raises(ValueError, match='b has shape'):
    metrics.pooled_standard_deviation([1.0], [])
