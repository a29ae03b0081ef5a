"""Documents in the order of their scores."""

import dataclasses
from collections.abc import Sequence

from bert_jax.tasks.base import Result


@dataclasses.dataclass(frozen=True)
class RankedDocument:
  """A document, its place among those given, from 0, and its score.

  The score is a probability if the reranker was tuned with the loss 'binary',
  and else the output as it is: of two, the higher is better.
  """

  index: int
  score: float
  text: str


def ranked(
  documents: Sequence[str], results: Sequence[Result]
) -> list[RankedDocument]:
  """The documents, best first; of equal ones the earlier.

  `results` are those of Reranking or Regression, one a document.
  """
  # Two probabilities near 1 may be equal where their outputs differ.
  outputs = [one.get('_output', one.get('value')) for one in results]
  order = sorted(range(len(documents)), key=lambda n: -outputs[n])
  return [
    RankedDocument(n, results[n].get('score', outputs[n]), documents[n])
    for n in order
  ]
