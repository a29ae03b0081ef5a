"""Answers from the scores of tokens: the best spans over all windows."""

import dataclasses
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from bert_jax.tasks.base import Result
from bert_jax.tasks.span_rows import SpanRow, best_spans

# The number of spans of a row that are looked at, as in BERT's run_squad.py.
_SPANS_PER_ROW = 20


@dataclasses.dataclass(frozen=True)
class Span:
  """A piece of a context, characters [start, end), that may be the answer.

  `score` is the sum of the logits of its first and last token; `probability`
  its share among the candidates, no answer included where that may be.
  """

  text: str
  start: int
  end: int
  score: float
  probability: float


@dataclasses.dataclass(frozen=True)
class Answer:
  """The answer to a question; `text` is '', `start` and `end` None for none.

  `null_difference` is the score of no answer less that of the best span, None
  for a model that always answers; `candidates` are the best spans.
  """

  text: str
  start: int | None
  end: int | None
  probability: float
  null_difference: float | None
  candidates: tuple[Span, ...]


def answer_of(result: Result) -> Answer:
  """A result of `decoded` as an object."""
  candidates = tuple(Span(**one) for one in result['candidates'])
  return Answer(**result | {'candidates': candidates})


def decoded(
  spans: Sequence[SpanRow],
  logits_R2T: np.ndarray,
  contexts: Sequence[str],
  *,
  max_length: int,
  num_best: int,
  threshold: float | None,
) -> list[Result]:
  """Returns the fields of `Answer` for each context.

  Args:
    spans: What each row holds; every example has a row.
    logits_R2T: f32 [rows, 2, T], of the first and the last token of a span.
    contexts: That of each example.
    max_length: The most tokens of an answer.
    num_best: The most candidates.
    threshold: The greatest `null_difference` with an answer; None answers
      every question.
  """
  found: list[dict[tuple[int, int], float]] = [{} for _ in contexts]
  nulls = [np.inf] * len(contexts)
  for span, (start_T, end_T) in zip(spans, logits_R2T, strict=True):
    # The least score of all windows counts, as in BERT's run_squad.py: a window
    # without the answer says nothing against one that has it.
    null = float(start_T[0]) + float(end_T[0])
    nulls[span.example] = min(nulls[span.example], null)
    best = best_spans(
      *(span, start_T, end_T),
      max_length=max_length,
      count=max(_SPANS_PER_ROW, num_best),
    )
    scores = found[span.example]
    for score, start, end in best:
      place = _trimmed(contexts[span.example], start, end)
      if place[0] < place[1]:
        scores[place] = max(score, scores.get(place, -np.inf))
  return [
    _result(context, _first(scores, num_best), null, threshold)
    for context, scores, null in zip(contexts, found, nulls, strict=True)
  ]


def _first(
  scores: dict[tuple[int, int], float], count: int
) -> list[tuple[tuple[int, int], float]]:
  """The spans with the highest scores; of equal ones the first in the text."""
  return sorted(scores.items(), key=lambda one: (-one[1], one[0]))[:count]


def _result(
  context: str,
  best: list[tuple[tuple[int, int], float]],
  null: float,
  threshold: float | None,
) -> Result:
  """The answer from the best spans and the score of no answer."""
  nulls = [null] if threshold is not None or not best else []
  logits = np.array([*nulls, *(score for _, score in best)])
  shares = np.exp(logits - logits.max())
  shares = (shares / shares.sum()).tolist()
  candidates = [
    {
      'text': context[start:end],
      'start': start,
      'end': end,
      'score': score,
      'probability': share,
    }
    for ((start, end), score), share in zip(
      best, shares[len(nulls) :], strict=True
    )
  ]
  difference = null - best[0][1] if nulls and best else None
  chosen: dict[str, Any] = {'text': '', 'start': None, 'end': None}
  is_null = not best
  if difference is not None:
    assert threshold is not None  # nulls has a score otherwise
    is_null = difference > threshold
  if is_null:
    chosen['probability'] = shares[0]
  else:
    keys = ('text', 'start', 'end', 'probability')
    chosen = {key: candidates[0][key] for key in keys}
  return chosen | {'null_difference': difference, 'candidates': candidates}


def _trimmed(context: str, start: int, end: int) -> tuple[int, int]:
  """The place of a span that begins and ends with whole characters of a text.

  Some tokens hold the space before a word, which goes. A tokenizer that drops
  accents leaves out a mark on the last letter, which comes back.
  """
  text = context[start:end]
  start += len(text) - len(text.lstrip())
  end = start + len(text.strip())
  while end < len(context) and unicodedata.combining(context[end]):
    end += 1
  return start, end
