"""Commands as results, with the figures of their intents and slots."""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from bert_jax.config.json_values import Number, Text
from bert_jax.tasks import entities, metrics
from bert_jax.tasks.base import Figures, Result
from bert_jax.tasks.class_table import ClassFigures


class FactsRecord(TypedDict):
  """The facts in results.json."""

  intents: list[Text]
  slots: list[Text]
  threshold: Number


class _Run(TypedDict):
  per_class: dict[str, ClassFigures]


class Results(FactsRecord):
  """The part of results.json that a report needs."""

  runs: list[_Run]


class Command(NamedTuple):
  """The result for a sentence.

  Attributes:
    intent: Its name, or that of `out_of_scope`.
    probability: Of the likeliest intent.
    words: The sentence.
    slots: The label of each word; empty without slots.
  """

  intent: str
  probability: float
  words: list[str]
  slots: list[str]


def command_of(result: Result) -> Command:
  return Command(*(result[name] for name in Command._fields))


class Scope(NamedTuple):
  """Likeliest intents and right ones, sentence by sentence.

  Attributes:
    probability_N: That of its likeliest intent.
    is_right_N: Whether that intent is right.
    is_out_N: Whether the sentence is out of scope.
  """

  probability_N: np.ndarray
  is_right_N: np.ndarray
  is_out_N: np.ndarray


def scope(
  results: Sequence[Result], labels: Sequence[str], out_of_scope: str
) -> Scope:
  """The facts of sentences, of which `out_of_scope` are labelled so."""
  pairs = [*zip(results, labels, strict=True)]
  return Scope(
    np.array([result['probability'] for result in results]),
    np.array([result['_likeliest'] == label for result, label in pairs]),
    np.array([label == out_of_scope for label in labels]),
  )


def best_threshold(
  probability_N: np.ndarray, is_right_N: np.ndarray, is_out_N: np.ndarray
) -> tuple[float, float]:
  """(Best accuracy, its threshold), where what is below it is out of scope.

  Args:
    probability_N: That of the likeliest intent of each sentence.
    is_right_N: Whether that intent is right.
    is_out_N: Whether the sentence is out of scope.

  Returns:
    Of equal accuracies that of the smallest threshold; 0 rejects nothing. A
    threshold lies in the middle between two probabilities.
  """
  order_N = np.argsort(probability_N, kind='stable')
  sorted_N = probability_N[order_N]
  # Rejecting the first k sentences gains what is out, and loses what is right.
  gain_N = is_out_N[order_N].astype(int) - is_right_N[order_N].astype(int)
  total = np.cumsum([is_right_N.sum(), *gain_N])
  ends = np.concatenate([[0.0], sorted_N, [1.0]])
  # Equal probabilities cannot be parted.
  can_end = ends[1:] > ends[:-1]
  can_end[0] = True
  best = int(np.argmax(np.where(can_end, total, -1)))
  threshold = 0.0 if best == 0 else (ends[best] + ends[best + 1]) / 2
  return float(total[best] / len(order_N)), float(threshold)


def of_intents(
  results: Sequence[Result],
  labels: Sequence[str],
  names: Sequence[str],
  out_of_scope: str,
) -> Figures:
  """'intent_accuracy', 'per_class'; and with `out_of_scope` two more.

  These are 'best_intent_accuracy', that of the best threshold, and 'auroc' of
  improbable sentences being out of scope, if there are some of both kinds.
  """
  names = [*names, *([out_of_scope] if out_of_scope else [])]
  place = {name: number for number, name in enumerate(names)}
  report = metrics.classification_report(
    np.array([place.get(label, -1) for label in labels]),
    np.array([place[result['intent']] for result in results]),
    names,
  )
  figures: Figures = {'intent_accuracy': report['accuracy']}
  if out_of_scope:
    found = scope(results, labels, out_of_scope)
    figures['best_intent_accuracy'] = best_threshold(*found)[0]
    if 0 < found.is_out_N.sum() < len(labels):
      figures['auroc'] = metrics.auroc(found.is_out_N, -found.probability_N)
  return figures | {'per_class': report['per_class']}


def of_slots(
  results: Sequence[Result],
  labels: Sequence[str],
  slots: Sequence[Sequence[str]],
) -> Figures:
  """'exact', 'slot_f1' and 'per_class' by type, from the right labels.

  'exact' counts sentences whose intent and labels are all right.
  """
  found = [result['slots'] for result in results]
  scores = entities.scores(slots, found)
  exact = [
    result['intent'] == label and [*right] == result['slots']
    for result, label, right in zip(results, labels, slots, strict=True)
  ]
  return {
    'exact': float(np.mean(exact)),
    'slot_f1': scores['f1'],
    'per_class': scores['per_class'],
  }
