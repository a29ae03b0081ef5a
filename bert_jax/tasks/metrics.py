"""Figures of classification and of numbers, ready for JSON.

A figure whose denominator is 0 is 0.0: the precision of a class that was never
predicted, the recall of a class without examples, Matthews' coefficient when
all labels or all predictions are the same. scikit-learn computes them; it is an
optional dependency, so it is imported only when figures are computed.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class MeanAndStd(NamedTuple):
  """Summary of one figure over several runs, in the figure's own unit."""

  mean: float
  std: float


def classification_report(
  labels: np.ndarray, predictions: np.ndarray, label_names: Sequence[str]
) -> dict[str, Any]:
  """Returns all figures of one evaluation.

  Args:
    labels: int [n], the class of each example, n >= 1.
    predictions: int [n], the predicted class of each example.
    label_names: The name of each class, also of those that do not occur.

  Returns:
    'accuracy'; 'macro_f1', the mean over the classes that occur among labels or
    predictions; 'matthews', Matthews' correlation for any number of classes
    (Gorodkin 2004); 'per_class': name -> 'precision', 'recall', 'f1' and
    'support', its number of labels; 'confusion': counts as nested lists, rows
    are labels, columns predictions.

  Raises:
    ValueError: Two classes have the same name.
  """
  from sklearn import metrics

  names = list(label_names)
  if len(set(names)) != len(names):
    twice = sorted({name for name in names if names.count(name) > 1})
    raise ValueError(f'label_names has {twice} more than once; rename them')
  classes = range(len(names))
  with warnings.catch_warnings():
    # Figures are defined for a single class too, so no warning is needed.
    warnings.filterwarnings('ignore', 'A single label was found')
    scores: Any = metrics.precision_recall_fscore_support(
      labels, predictions, labels=classes, zero_division=0
    )
    return {
      'accuracy': float(metrics.accuracy_score(labels, predictions)),
      'macro_f1': float(
        metrics.f1_score(labels, predictions, average='macro', zero_division=0)
      ),
      'matthews': float(metrics.matthews_corrcoef(labels, predictions)),
      'per_class': {
        name: {
          'precision': float(precision),
          'recall': float(recall),
          'f1': float(f1),
          'support': int(support),
        }
        for name, precision, recall, f1, support in zip(
          names, *scores, strict=True
        )
      },
      'confusion': metrics.confusion_matrix(
        labels, predictions, labels=classes
      ).tolist(),
    }


def mean_and_std(values: Sequence[float]) -> MeanAndStd:
  """Returns mean and sample standard deviation (n - 1) of a figure over runs.

  The spread of a single run cannot be estimated: its std is 0.0, so that
  results stay plain JSON. Show the number of runs beside it.

  Args:
    values: The figure of each run, shape [n], n >= 1.

  Raises:
    ValueError: There are no values.
  """
  array = np.asarray(values, dtype=np.float64)
  if array.ndim != 1 or array.size == 0:
    raise ValueError(f'values has shape {array.shape}; give at least one value')
  std = array.std(ddof=1) if array.size > 1 else 0.0
  return MeanAndStd(float(array.mean()), float(std))


def correlations(numbers: np.ndarray, values: np.ndarray) -> dict[str, float]:
  """Pearson's and Spearman's correlation, as 'pearson' and 'spearman'.

  Both are 0.0 if either side is constant or there is one example.
  """
  # Imported only when used, because it changes the warnings of a process.
  import scipy.stats

  if len(numbers) < 2 or np.ptp(numbers) == 0 or np.ptp(values) == 0:
    return {'pearson': 0.0, 'spearman': 0.0}
  return {
    'pearson': float(scipy.stats.pearsonr(numbers, values).statistic),
    'spearman': float(scipy.stats.spearmanr(numbers, values).statistic),
  }


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
  """The area below precision by recall, of pairs ordered by their scores.

  Args:
    labels: 0 or 1, [n], 1 at least once.
    scores: Any numbers, [n].
  """
  from sklearn import metrics

  return float(metrics.average_precision_score(labels, scores))


def auroc(is_one_N: np.ndarray, scores_N: np.ndarray) -> float:
  """The area under the receiver operating characteristic of scores.

  That is the share of pairs of one and another in which the one has the higher
  score; equal ones count as a half. There must be some of both kinds.
  """
  from sklearn import metrics

  return float(metrics.roc_auc_score(is_one_N, scores_N))


def report_table(report: dict) -> str:
  """Formats figures as lines for a terminal, with `per_class` as a table."""
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
