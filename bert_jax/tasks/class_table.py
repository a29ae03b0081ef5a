"""The table of a report on classes of things that are found: types, intents."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from bert_jax.config.json_values import Number
from bert_jax.tasks.base import NUMBER, SHARE, ReportTable


class ClassFigures(TypedDict):
  """The figures of a class in one run."""

  precision: Number
  recall: Number
  f1: Number
  support: Number


def mean_per_class(
  per_run: Sequence[Mapping[str, ClassFigures]],
) -> ReportTable:
  """A row for each class: means over the runs, and its number of answers.

  A run has no figures for a class that it never guessed and that is no answer;
  they count as 0.
  """
  names = ('precision', 'recall', 'f1', 'support')
  zero = dict.fromkeys(names, 0)
  kinds = sorted({kind for of_run in per_run for kind in of_run})
  rows = [
    [
      kind,
      *(
        sum(of_run.get(kind, zero)[name] for of_run in per_run) / len(per_run)
        for name in names
      ),
    ]
    for kind in kinds
  ]
  head = ['Type', 'Precision', 'Recall', 'F1', 'Held-out']
  return ReportTable(head, rows, [SHARE] * 3 + [NUMBER])
