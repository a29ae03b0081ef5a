"""Figures of merit of classification, from labels and predictions in numpy.

They equal scikit-learn's (with `zero_division=0`), without depending on it, so
that what a run reports can be checked elsewhere; the tests hold both together.
A figure whose denominator is 0 is 0.0: the precision of a class that was never
predicted, the recall of a class without examples, Matthews' coefficient when
all labels or all predictions are the same.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class ClassScores(NamedTuple):
  """Scores of each class, arrays of shape [num_classes]."""

  precision: np.ndarray  # float64, share of its predictions that are right
  recall: np.ndarray  # float64, share of its examples that were found
  f1: np.ndarray  # float64, harmonic mean of the two
  support: np.ndarray  # int64, number of examples with this label


class MeanAndStd(NamedTuple):
  """Summary of one figure over several runs, in the figure's own unit."""

  mean: float
  std: float


def accuracy(
  labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> float:
  """Returns the share of the examples, in [0, 1], whose prediction is right.

  Args:
    labels: integer class of each example, shape [n], in [0, num_classes).
    predictions: integer predicted class, shape [n], in [0, num_classes).
    num_classes: number of classes, those without any example included.

  Raises:
    ValueError: the arrays are empty, not of integers, not of one shape [n], or
      hold a class outside [0, num_classes). All functions here check this.
  """
  confusion = confusion_matrix(labels, predictions, num_classes)
  return float(np.trace(confusion) / confusion.sum())


def macro_f1(
  labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> float:
  """Returns the unweighted mean of the classes' F1, in [0, 1].

  As in scikit-learn, a class that occurs neither among the labels nor among the
  predictions does not enter the mean. Arguments and errors: see `accuracy`.
  """
  confusion = confusion_matrix(labels, predictions, num_classes)
  occurs = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
  scores = class_scores(labels, predictions, num_classes)
  return float(scores.f1[occurs].mean())


def matthews(
  labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> float:
  """Returns Matthews' correlation coefficient for any number of classes.

  It lies in [-1, 1], and 0 is no better than chance. Arguments and errors: see
  `accuracy`. Source: Gorodkin 2004, "Comparing two K-category assignments by a
  K-category correlation coefficient".
  """
  confusion = confusion_matrix(labels, predictions, num_classes)
  # Python integers: the product under the root passes 2**63 from about 55,000
  # examples on.
  num_labelled = [int(count) for count in confusion.sum(axis=1)]
  num_predicted = [int(count) for count in confusion.sum(axis=0)]
  num_examples = sum(num_labelled)
  num_right = int(np.trace(confusion))
  covariance = num_right * num_examples - _dot(num_labelled, num_predicted)
  label_variance = num_examples**2 - _dot(num_labelled, num_labelled)
  prediction_variance = num_examples**2 - _dot(num_predicted, num_predicted)
  if label_variance == 0 or prediction_variance == 0:
    return 0.0
  return covariance / math.sqrt(label_variance * prediction_variance)


def class_scores(
  labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> ClassScores:
  """Returns precision, recall, F1 and support of every class.

  Arguments and errors: see `accuracy`.
  """
  confusion = confusion_matrix(labels, predictions, num_classes)
  right = np.diagonal(confusion)
  num_labelled = confusion.sum(axis=1)
  num_predicted = confusion.sum(axis=0)
  return ClassScores(
    precision=_ratio(right, num_predicted),
    recall=_ratio(right, num_labelled),
    # 2PR / (P + R), written in counts: defined where P and R are both 0.
    f1=_ratio(2 * right, num_labelled + num_predicted),
    support=num_labelled,
  )


def confusion_matrix(
  labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> np.ndarray:
  """Counts how often each class was taken for each other.

  Arguments and errors: see `accuracy`.

  Returns:
    int64 [num_classes, num_classes]: rows are labels, columns predictions.
  """
  labels = _checked_classes('labels', labels, num_classes)
  predictions = _checked_classes('predictions', predictions, num_classes)
  if labels.shape != predictions.shape:
    raise ValueError(
      f'labels has {labels.size} entries and predictions {predictions.size}; '
      'give one prediction for each label'
    )
  # int64 first: a product of small class dtypes (uint8) would wrap around.
  cells = labels.astype(np.int64) * num_classes + predictions.astype(np.int64)
  counts = np.bincount(cells, minlength=num_classes * num_classes)
  return counts.reshape(num_classes, num_classes)


def classification_report(
  labels: np.ndarray, predictions: np.ndarray, label_names: Sequence[str]
) -> dict:
  """Returns all figures of one evaluation, ready for JSON.

  Args:
    labels: integer class of each example, shape [n].
    predictions: integer predicted class, shape [n].
    label_names: name of each class; their number is the number of classes.

  Returns:
    `{'accuracy', 'macro_f1', 'matthews', 'per_class', 'confusion'}`: three
    floats; `per_class` maps each name to `{'precision', 'recall', 'f1',
    'support'}`; `confusion` is the matrix as nested lists of integers.

  Raises:
    ValueError: as `accuracy`; or two classes have one name.
  """
  names = list(label_names)
  if len(set(names)) != len(names):
    twice = sorted({name for name in names if names.count(name) > 1})
    raise ValueError(f'label_names has {twice} more than once; rename them')
  arguments = (labels, predictions, len(names))
  scores = class_scores(*arguments)
  return {
    'accuracy': accuracy(*arguments),
    'macro_f1': macro_f1(*arguments),
    'matthews': matthews(*arguments),
    'per_class': {
      name: {
        'precision': float(scores.precision[index]),
        'recall': float(scores.recall[index]),
        'f1': float(scores.f1[index]),
        'support': int(scores.support[index]),
      }
      for index, name in enumerate(names)
    },
    'confusion': confusion_matrix(*arguments).tolist(),
  }


def mean_and_std(values: Sequence[float]) -> MeanAndStd:
  """Returns mean and sample standard deviation (n - 1) of a figure over runs.

  A single run has no spread that could be estimated: its std is 0.0, so that
  results stay plain JSON. Whoever shows it should also show the number of runs.

  Args:
    values: the figure of each run, shape [n], n >= 1.

  Raises:
    ValueError: there are no values.
  """
  figures = _checked_values('values', values)
  std = figures.std(ddof=1) if figures.size > 1 else 0.0
  return MeanAndStd(float(figures.mean()), float(std))


def pooled_standard_deviation(a: Sequence[float], b: Sequence[float]) -> float:
  """Returns the standard deviation within two groups of runs, taken together.

  This is the yardstick for a difference of their means: the root of the squared
  deviations from each group's own mean over n_a + n_b - 2. Two single runs have
  no spread that could be estimated: 0.0, as in `mean_and_std`.

  Args:
    a: the figure of each run of one group, shape [n_a], n_a >= 1.
    b: the same of the other group, shape [n_b], n_b >= 1.

  Raises:
    ValueError: a group is empty.
  """
  a_n, b_n = _checked_values('a', a), _checked_values('b', b)
  degrees_of_freedom = a_n.size + b_n.size - 2
  if degrees_of_freedom == 0:
    return 0.0
  squares = (
    np.square(a_n - a_n.mean()).sum() + np.square(b_n - b_n.mean()).sum()
  )
  return math.sqrt(squares / degrees_of_freedom)


def _checked_classes(
  name: str, classes: np.ndarray, num_classes: int
) -> np.ndarray:
  """Returns `classes` as an integer array [n] within [0, num_classes)."""
  classes = np.asarray(classes)
  if classes.ndim != 1 or classes.size == 0:
    raise ValueError(
      f'{name} has shape {classes.shape}; give at least one class, as [n]'
    )
  if not np.issubdtype(classes.dtype, np.integer):
    raise ValueError(f'{name} is {classes.dtype}; give class numbers')
  outside = classes[(classes < 0) | (classes >= num_classes)]
  if outside.size:
    raise ValueError(
      f'{name} has class {outside[0]}; classes are 0 to {num_classes - 1}'
    )
  return classes


def _checked_values(name: str, values: Sequence[float]) -> np.ndarray:
  """Returns `values` as float64 [n], n >= 1."""
  array = np.asarray(values, dtype=np.float64)
  if array.ndim != 1 or array.size == 0:
    raise ValueError(f'{name} has shape {array.shape}; give at least one value')
  return array


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
  """Divides counts elementwise; where the denominator is 0, so is the result.

  Each numerator here counts a part of its denominator, so it is 0 there too.
  """
  return numerator / np.maximum(denominator, 1)


def _dot(a: list[int], b: list[int]) -> int:
  """Inner product in exact integers."""
  return sum(x * y for x, y in zip(a, b, strict=True))


def report_table(report: dict) -> str:
  """Figures as lines for a terminal, those of `per_class` as a table."""
  per_class, lines = report.get('per_class', {}), []
  width = max(map(len, ['class', *per_class]))
  if per_class:
    lines = [f'{"class":{width}}  precision  recall      f1  support']
  for name, row in per_class.items():
    lines.append(
      f'{name:{width}}  {row["precision"]:9.4f}  {row["recall"]:6.4f}  '
      f'{row["f1"]:6.4f}  {row["support"]:7d}'
    )
  figures = [
    f'{name} {value:.4f}'
    for name, value in report.items()
    if isinstance(value, float)
  ]
  return '\n'.join([*lines, *([''] if lines else []), '  '.join(figures)])
