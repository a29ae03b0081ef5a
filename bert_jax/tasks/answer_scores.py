"""Exact match and F1 of answers, as the official scripts of SQuAD define them.

Answers are compared in lower case, without punctuation, the articles a, an and
the, and surplus white space. F1 is that of the words that two answers share.
Sources: evaluate-v1.1.py and evaluate-v2.0.py (Rajpurkar et al. 2016, 2018).
"""

import collections
import re
import string
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_ARTICLES = re.compile(r'\b(a|an|the)\b', re.UNICODE)
_PUNCTUATION = str.maketrans('', '', string.punctuation)


class Best(NamedTuple):
  """A mean score, and the threshold that gives it."""

  score: float
  threshold: float


def normalized(answer: str) -> str:
  """An answer in the form in which answers are compared."""
  text = answer.lower().translate(_PUNCTUATION)
  return ' '.join(_ARTICLES.sub(' ', text).split())


def exact(answer: str, right: str) -> float:
  """1.0 if two answers are equal once normalized, else 0.0."""
  return float(normalized(answer) == normalized(right))


def f1(answer: str, right: str) -> float:
  """F1 of the words of an answer; 1.0 or 0.0 if one of the two has none."""
  words, right_words = normalized(answer).split(), normalized(right).split()
  if not words or not right_words:
    return float(words == right_words)
  common = collections.Counter(words) & collections.Counter(right_words)
  num_same = common.total()
  if not num_same:
    return 0.0
  precision, recall = num_same / len(words), num_same / len(right_words)
  return 2 * precision * recall / (precision + recall)


def scores(
  measure: Callable[[str, str], float],
  answers: Sequence[str],
  right: Sequence[Sequence[str]],
) -> np.ndarray:
  """The score of each answer against its nearest right one, f64 [n].

  Args:
    measure: `exact` or `f1`.
    answers: The answer to each question, '' for none.
    right: The right answers to each; none of a question without an answer,
      whose right answer is ''.
  """
  return np.array(
    [
      max(
        measure(answer, one)
        for one in [text for text in texts if normalized(text)] or ['']
      )
      for answer, texts in zip(answers, right, strict=True)
    ]
  )


def figures(
  answers: Sequence[str], right: Sequence[Sequence[str]]
) -> dict[str, float]:
  """The figures of the official scripts, as shares; arguments as of `scores`.

  Returns:
    'exact' and 'f1' over all questions; and 'has_answer_exact', ... and
    'no_answer_exact', ... over those with and without an answer, if any.
  """
  has_answer_N = np.array([bool(texts) for texts in right])
  kinds = {'has_answer': has_answer_N, 'no_answer': ~has_answer_N}
  found = {}
  for name, measure in (('exact', exact), ('f1', f1)):
    scores_N = scores(measure, answers, right)
    found[name] = float(scores_N.mean())
    for kind, of_kind_N in kinds.items():
      if of_kind_N.any():
        found[f'{kind}_{name}'] = float(scores_N[of_kind_N].mean())
  return found


def best_threshold(
  scores_N: np.ndarray,
  differences_N: np.ndarray,
  has_answer_N: np.ndarray,
  is_empty_N: np.ndarray,
) -> Best:
  """Finds the threshold above which a question is best left unanswered.

  The score is that of find_best_thresh in the official script. The threshold
  lies in the middle between the last question that is answered and the next,
  where the script takes the last one's difference (and 0 if none is answered):
  computed again with other rounding, the same questions are answered. Questions
  of equal difference are answered all or none.

  Args:
    scores_N: f64 [n], the score of each best answer that is not ''.
    differences_N: f64 [n], the score of '' less that of the answer.
    has_answer_N: bool [n], whether a question has an answer.
    is_empty_N: bool [n], whether there is no other answer than ''.

  Returns:
    The mean score in [0, 1], and a threshold: '' is the answer where the
    difference is greater.
  """
  order = np.argsort(differences_N, kind='stable')
  # Answering a question that has no answer loses the point for ''.
  gains = np.where(has_answer_N, scores_N, np.where(is_empty_N, 0.0, -1.0))
  totals = np.sum(~has_answer_N) + np.cumsum(gains[order])
  ordered = differences_N[order]
  is_last = np.append(ordered[1:] > ordered[:-1], True)
  totals = np.concatenate(
    [[np.sum(~has_answer_N)], np.where(is_last, totals, -np.inf)]
  )
  best = int(np.argmax(totals))
  edges = np.concatenate([[ordered[0] - 1], ordered, [ordered[-1] + 1]])
  threshold = (edges[best] + edges[best + 1]) / 2
  return Best(float(totals[best]) / len(order), float(threshold))
