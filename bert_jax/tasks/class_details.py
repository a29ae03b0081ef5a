"""Calibration of class probabilities, and the worst errors."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from bert_jax.config.json_values import Count, Number, Text
from bert_jax.data.examples import Examples
from bert_jax.errors import cut
from bert_jax.tasks.base import (
  SHARE,
  TEXT,
  ReportCurve,
  ReportTable,
  Section,
  hits_of,
)

_NUM_BINS = 10
_NUM_WORST = 10
_MAX_CHARACTERS = 200


class Bin(TypedDict):
  """Examples whose predicted class has a probability of one tenth of [0, 1]."""

  count: Count
  probability: Number  # mean over the examples
  accuracy: Number


class Worst(TypedDict):
  """An example of high loss."""

  origin: Text
  text: Text
  true: Text
  predicted: Text
  probability_of_predicted: Number
  probability_of_true: Number


class ClassDetails(TypedDict):
  """Details of one run of a classification; see `details`."""

  hits: Text
  bins: list[Bin]
  ece: Number
  worst: list[Worst]


def details(
  log_probabilities: np.ndarray,
  labels: np.ndarray,
  names: Sequence[str],
  examples: Examples,
) -> ClassDetails:
  """Details of one run for the report, beside its figures.

  Args:
    log_probabilities: float [n, C].
    labels: int [n], the class of each example; -1 for one that the model does
      not know, which counts as wrong.
    names: The names of the C classes.
    examples: The n examples.

  Returns:
    'hits': '1' for each example whose class is predicted, else '0'; 'bins':
    those of 10 bins of [0, 1] that have examples, by the probability of the
    predicted class; 'ece': the expected calibration error, the mean over the
    examples of |accuracy - probability| of their bin (Guo et al. 2017);
    'worst': the examples with the highest loss, at most 10, with texts cut to
    200 characters.
  """
  probabilities = np.exp(log_probabilities.astype(np.float64))
  predicted = np.argmax(log_probabilities, axis=-1)
  rows = np.arange(len(labels))
  confidence = probabilities[rows, predicted]
  hits = predicted == labels
  bins, bin_of = [], np.minimum((confidence * _NUM_BINS).astype(int), 9)
  for number in range(_NUM_BINS):
    if (chosen := bin_of == number).any():
      bins.append(
        Bin(
          count=int(chosen.sum()),
          probability=float(confidence[chosen].mean()),
          accuracy=float(hits[chosen].mean()),
        )
      )
  gaps = [
    one['count'] * abs(one['accuracy'] - one['probability']) for one in bins
  ]
  known = rows[labels >= 0]
  of_true = probabilities[known, labels[known]]
  return ClassDetails(
    hits=hits_of(hits),
    bins=bins,
    ece=sum(gaps) / len(labels),
    worst=[
      Worst(
        origin=_plain(examples.origins[row].rpartition('/')[2]),
        text=_plain(' | '.join(examples.texts[row])),
        true=names[labels[row]],
        predicted=names[predicted[row]],
        probability_of_predicted=float(confidence[row]),
        probability_of_true=float(probabilities[row, labels[row]]),
      )
      for row in known[np.argsort(of_true, kind='stable')][:_NUM_WORST]
    ],
  )


def sections(found: ClassDetails) -> list[Section]:
  """The calibration of a run and its worst errors, for a report."""
  num_examples = sum(one['count'] for one in found['bins'])
  curve = ReportCurve(
    'Calibration',
    [(one['probability'], one['accuracy']) for one in found['bins']],
    'probability of the predicted class',
    'share of right predictions',
    f'Best seed; expected calibration error {found["ece"]:.3f} over '
    f'{num_examples:,} examples, in {len(found["bins"])} of {_NUM_BINS} bins. '
    'Below the dashed line the model is surer than it is right.',
  )
  rows = [
    [
      one['origin'],
      *(one[name] for name in ('text', 'true', 'predicted')),
      one['probability_of_predicted'],
      one['probability_of_true'],
    ]
    for one in found['worst']
  ]
  head = ['Example', 'Text', 'True', 'Predicted', 'P(predicted)', 'P(true)']
  table = ReportTable(head, rows, [TEXT, TEXT, TEXT, SHARE, SHARE])
  return [Section('Calibration', curve), Section('Highest losses', table)]


def _plain(text: str) -> str:
  # A lone surrogate, as of a broken \\u escape, cannot be written to a page.
  return cut(text.encode(errors='replace').decode(), _MAX_CHARACTERS)
